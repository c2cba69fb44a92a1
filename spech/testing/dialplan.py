"""The configuration of the test PBX: its accounts, its extensions and the modules it loads.

Accounts `alice` and `bob` have a password; `guest` has none, for peers that cannot authenticate.
`info` and `inband` have none either, and exchange digits in the way that they are named after.
`sdes` and `dtls`, with the same password, accept encrypted calls only. `ice` uses ICE;
`all` uses ICE, DTLS-SRTP and RTCP on the port of RTP, as browsers do.

    600  echo                              604  rings and is never answered
    601  a tone of 1004 Hz until hang-up   605  a second of 440 Hz, then Asterisk hangs up
    602  reads digits up to `#`, plays     606  early media: a tone of 425 Hz, never answered
         them back as digits, hangs up     603  busy
    607  echo behind a bridge, so that    608  a tone of 440 Hz until hang-up
         it can be transferred
    609  the sound file that the global variable `speech` names without its ending, once
    610  a tone of 440 Hz; after two seconds a re-INVITE changes to the codec that the global
         variable `codec` names
    700  only has a state: whether bob is busy

Text messages between the accounts are forwarded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Password of the accounts.
PASSWORD = "correct-horse"
ENCRYPTED = ("sdes", "dtls")
ICE = ("ice", "all")
ACCOUNTS = ("alice", "bob", *ENCRYPTED, *ICE)
GUEST = "guest"
#: Accounts without password, and how Asterisk exchanges digits with them.
_OPEN = {GUEST: "rfc4733", "info": "info", "inband": "inband"}
#: Files of its TLS certificate and the key.
CERTIFICATE = "certificate.pem"
KEY = "key.pem"

_MODULES = (
    "res_timing_timerfd",
    "res_sorcery_config",
    "res_sorcery_memory",
    "res_sorcery_astdb",
    "res_pjproject",
    "res_pjsip",
    "res_pjsip_pubsub",
    "res_pjsip_session",
    "res_pjsip_sdp_rtp",
    "res_pjsip_registrar",
    "res_pjsip_authenticator_digest",
    "res_pjsip_endpoint_identifier_user",
    "res_pjsip_caller_id",
    "res_pjsip_nat",
    "res_pjsip_refer",
    "res_pjsip_messaging",
    "res_pjsip_outbound_publish",
    "res_pjsip_exten_state",
    "res_pjsip_dialog_info_body_generator",
    "res_pjsip_pidf_body_generator",
    "res_pjsip_mwi",
    "res_pjsip_mwi_body_generator",
    "res_pjsip_rfc3326",
    "res_pjsip_dtmf_info",
    "res_pjsip_logger",
    "res_http_websocket",
    "res_pjsip_transport_websocket",
    "res_rtp_asterisk",
    "res_srtp",
    "res_clioriginate",
    "chan_pjsip",
    "pbx_config",
    "bridge_simple",
    "bridge_native_rtp",
    "bridge_softmix",
    "codec_ulaw",
    "codec_alaw",
    "codec_a_mu",
    "codec_g722",
    "codec_gsm",
    "codec_resample",
    "codec_speex",
    "codec_opus_open_source",
    "res_format_attr_opus",
    "format_wav",
    "format_pcm",
    "format_gsm",
    "func_callerid",
    "func_channel",
    "func_global",
    "func_strings",
    "app_dial",
    "app_echo",
    "app_milliwatt",
    "app_originate",
    "app_playback",
    "app_playtones",
    "app_read",
    "app_record",
    "app_senddtmf",
    "app_stack",
    "app_verbose",
)

_CODECS = (
    "ulaw,alaw,slin16,slin,g722,gsm,speex,speex16,speex32,opus,g729,ilbc,"
    "slin24,slin32,slin44,slin48"
)

_DIALPLAN = """
[phones]
exten = 600,1,Answer()
 same = n,Echo()

exten = 601,1,Answer()
 same = n,Milliwatt()

exten = 602,1,Answer()
 same = n,Set(GLOBAL(digits)=)
 same = n,Set(GLOBAL(status)=reading)
 same = n,Read(typed,,0,,1,20)
 same = n,Set(GLOBAL(digits)=${typed})
 same = n,Set(GLOBAL(status)=${READSTATUS})
 same = n,SendDTMF(${typed})
 same = n,Wait(0.5)
 same = n,Hangup()

exten = 603,1,Hangup(17)

exten = 604,1,Ringing()
 same = n,Wait(60)

exten = 605,1,Answer()
 same = n,Playtones(440)
 same = n,Wait(1)
 same = n,Hangup()

exten = 606,1,Progress()
 same = n,Playtones(425)
 same = n,Wait(60)

exten = 607,1,Dial(Local/600@phones)

exten = 608,1,Answer()
 same = n,Playtones(440)
 same = n,Wait(600)

exten = 609,1,Answer()
 same = n,Playback(${speech})
 same = n,Wait(1)
 same = n,Hangup()

exten = 610,1,Answer()
 same = n,Playtones(440)
 same = n,Wait(2)
 same = n,Set(PJSIP_MEDIA_OFFER(audio)=!all,${codec})
 same = n,Set(PJSIP_SEND_SESSION_REFRESH()=invite)
 same = n,Wait(60)
 same = n,Hangup()

exten = 700,hint,PJSIP/bob

exten = _[a-z].,1,Dial(PJSIP/${EXTEN},30)

[messages]
exten = _[a-z].,1,MessageSend(pjsip:${EXTEN},${MESSAGE(from)})
"""


def files(
    *,
    directory: str,
    host: str,
    port: int,
    rtp: tuple[int, int],
    dialplan: str = "",
    accounts: Sequence[str] = (),
    modules: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
    addresses: Sequence[str] = (),
) -> dict[str, str]:
    """The files of a private configuration folder, by name.

    Args:
        directory: the folder of this PBX as the PBX sees it, inside its own root.
        host: address it listens on, for SIP and RTP.
        port: its SIP port for UDP and TCP; TLS is one above, WebSocket two above.
        rtp: first and last of its RTP ports; each call takes two.
        dialplan: more lines for the context ``phones``, or contexts of their own.
        accounts: user names of further accounts, with the same password.
        modules: names of further modules to load.
        addresses: the machine's addresses, which it would offer in ICE in place of ``host``.
        extra: more files, or text to append to the generated ones.
    """
    made = {
        "asterisk.conf": f"""
[directories]
astetcdir = {directory}
astvarlibdir = {directory}
astdbdir = {directory}
astkeydir = {directory}
astcachedir = {directory}
astspooldir = {directory}
astrundir = {directory}
astlogdir = {directory}

[options]
verbose = 3
nocolor = yes
hideconnect = yes
systemname = spech
""",
        "modules.conf": "[modules]\nautoload = no\n"
        + "".join(f"load = {name}.so\n" for name in (*_MODULES, *modules)),
        "logger.conf": "[general]\nappend_hostname = no\n"
        "[logfiles]\nlog = notice,warning,error,verbose\n",
        "rtp.conf": f"""
[general]
rtpstart = {rtp[0]}
rtpend = {rtp[1]}
icesupport = yes

[ice_host_candidates]
"""
        + "".join(f"{one} => {host}\n" for one in addresses if one != host),
        "pjsip.conf": _pjsip(host, port, directory, accounts),
        "extensions.conf": f"{_DIALPLAN}\n[phones](+)\n{dialplan}",
        "indications.conf": "[general]\ncountry = us\n[us]\ndescription = United States\n"
        "ringcadence = 2000,4000\ndial = 350+440\nring = 440+480/2000,0/4000\n"
        "busy = 480+620/500,0/500\ncongestion = 480+620/250,0/250\n",
        "pjproject.conf": "[startup]\nlog_mappings =\n",
        # Modules warn if their own configuration file is missing.
        "features.conf": "",
        "stasis.conf": "",
        "ccss.conf": "",
        "udptl.conf": "",
        "acl.conf": "",
        "cdr.conf": "[general]\nenable = no\n",
        "cel.conf": "[general]\nenable = no\n",
        "codecs.conf": "[speex]\nquality = 8\n",
        "dsp.conf": "",
        "sorcery.conf": "",
        "cli.conf": "",
        "cli_permissions.conf": "",
        "manager.conf": "[general]\nenabled = no\n",
        "http.conf": f"[general]\nenabled = yes\nbindaddr = {host}\nbindport = {port + 2}\n",
    }
    for name, text in (extra or {}).items():
        made[name] = made.get(name, "") + text
    return made


def _pjsip(host: str, port: int, directory: str, accounts: Sequence[str]) -> str:
    sections = [
        # The user name identifies the caller, because all share one address here.
        """
[global]
type = global
user_agent = Asterisk
endpoint_identifier_order = username
[system]
type = system
timer_t1 = 500
"""
    ]
    for protocol in ("udp", "tcp"):
        sections.append(
            f"[{protocol}]\ntype = transport\nprotocol = {protocol}\nbind = {host}:{port}\n"
        )
    sections.append(f"""
[tls]
type = transport
protocol = tls
bind = {host}:{port + 1}
cert_file = {directory}/{CERTIFICATE}
priv_key_file = {directory}/{KEY}
method = tlsv1_2
[ws]
type = transport
protocol = ws
bind = {host}
""")
    for name in (*ACCOUNTS, *accounts, *_OPEN):
        authentication = "" if name in _OPEN else f"auth = {name}"
        encryption = f"media_encryption = {name}" if name in ENCRYPTED else ""
        if name == "all":
            encryption = "media_encryption = dtls\nrtcp_mux = yes"
        if "dtls" in encryption:
            encryption += "\ndtls_auto_generate_cert = yes\ndtls_verify = fingerprint"
        sections.append(f"""
[{name}]
type = endpoint
context = phones
disallow = all
allow = {_CODECS}
aors = {name}
{authentication}
{encryption}
ice_support = {"yes" if name in ICE else "no"}
media_address = {host}
bind_rtp_to_media_address = yes
direct_media = no
rtp_symmetric = yes
force_rport = yes
rewrite_contact = yes
dtmf_mode = {_OPEN.get(name, "rfc4733")}
callerid = {name.title()} <{name}>
message_context = messages
allow_subscribe = yes

[{name}]
type = aor
max_contacts = 10
mailboxes = {name}@default
remove_existing = yes
minimum_expiration = 10
default_expiration = 60
""")
        if authentication:
            sections.append(
                f"[{name}]\ntype = auth\nauth_type = userpass\n"
                f"username = {name}\npassword = {PASSWORD}\n"
            )
    return "\n".join(sections)
