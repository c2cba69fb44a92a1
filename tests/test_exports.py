"""What ``spech`` exports, and what its classes show to programs."""

from __future__ import annotations

import inspect

import pytest

import spech

#: The public members of each class, besides those of ``object``.
MEMBERS = {
    spech.Account: """
        address auth_user display_name encryption expires ice numbers password proxy register
        symmetric tls transport uri websocket_path
    """,
    spech.AnswererHeard: "answerer at seconds words",
    spech.AudioPort: """
        driven dropped flush frame_samples missed play play_background rate receive send
    """,
    spech.Call: """
        answer answered ask automatic_gain beep call_id capture cause changed codec
        collect_digits detects_tones digits_received direction duration encrypted ended ended_by
        flush hang_up headers heard held hold join ladder leave levels listen local low_latency
        member microphone_gain muted no_sound on_hold open_audio peaks play play_background
        play_tone played press quality_history reason record remote resume send_dtmf speaker_gain
        state statistics status tap timeline transfer transfer_accepted transfer_progress
        transfer_to transfers wall watch_packets
    """,
    spech.CallQueue: "join position take",
    spech.Conference: "add members open_audio record remove",
    spech.DialogInfo: "after busy dialogs entity full parse ringing version",
    spech.DialogState: """
        call_id direction identifier local_tag remote remote_name remote_tag state
    """,
    spech.DigitHeard: "at digit",
    spech.Diversion: "number reason uri",
    spech.IncomingCall: """
        answer answered_elsewhere asserted call_id called caller_number display_name diversions
        ended forwarded_to headers over progress redirect reject rings timeline user_to_user
    """,
    spech.Mailbox: "account counts parse voice waiting",
    spech.Mark: "decided played reached",
    spech.MediaStatistics: """
        accelerated_ms buffer_ms burst_density_percent burst_ms burst_ratio codec concealed
        concealed_percent delay_ms dropped_foreign dropped_invalid dropped_replayed
        dropped_unauthentic duplicates expanded_ms gap_density_percent gap_ms jitter_ms late
        loss_percent lost mos mos_listening mos_mean mos_worst one_way_ms payload_type received
        received_octets remote_jitter_ms remote_loss_percent remote_lost remote_mos reordered
        resynchronised round_trip_ms send_errors sent sent_octets total_loss_percent
    """,
    spech.Member: "gain leave level muted room",
    spech.Message: "display_name recipient sender text",
    spech.MessageCount: "kind new new_urgent old old_urgent",
    spech.NumberRules: "country format is_costly is_emergency prefix rewrite",
    spech.OptionsAnswer: "headers methods reason status",
    spech.Phone: """
        account active_calls address call capture_registration codecs incoming_calls mailbox
        mailbox_changed messages options ping ports rules refuse_calls registered registration
        registration_changed secure_address send_message serve subscribe turned_away
    """,
    spech.Playback: """
        done dropped_ms end error flush mark pause played played_ms queued_ms resume seek write
    """,
    spech.PortRange: "first first_even last pairs",
    spech.Presence: "entity notes parse reachable tuples",
    spech.PresenceTuple: "contact identifier notes reachable",
    spech.QualitySample: """
        at buffer_ms concealed_percent jitter_ms loss_percent mos remote_loss_percent
        round_trip_ms
    """,
    spech.CallRules: """
        call_waiting decide do_not_disturb engaged forward forward_busy forward_unanswered
        unanswered_after
    """,
    spech.Recording: "finish stop stopped wait write",
    spech.RegistrationStatus: "expires_at reason state status",
    spech.Room: "members",
    spech.SpeechBegan: "at",
    spech.SpeechEnded: "at",
    spech.Subscription: "changed content state",
    spech.TlsSettings: "ca_file certificate_file fingerprint key_file",
    spech.ToneHeard: "at tone",
    spech.TransferRequest: "follow referred_by reject target",
}


def public(kind: type) -> set[str]:
    names = {*dir(kind), *getattr(kind, "__dataclass_fields__", ())}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.interpreted
def test_all_is_complete_and_documented() -> None:
    names = {name for name in dir(spech) if not name.startswith("_")}
    modules = {name for name in names if inspect.ismodule(getattr(spech, name))}
    assert set(spech.__all__) == names - modules
    for name in spech.__all__:
        assert getattr(spech, name).__doc__, name


def test_every_class_but_errors_is_listed() -> None:
    classes = {one for name in spech.__all__ if inspect.isclass(one := getattr(spech, name))}
    assert set(MEMBERS) == {one for one in classes if not issubclass(one, spech.SpechError)}


@pytest.mark.interpreted
@pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.__name__)
def test_classes_show_what_programs_may_use_and_nothing_else(kind: type) -> None:
    assert public(kind) == set(MEMBERS[kind].split())
    for name in public(kind) - set(getattr(kind, "__dataclass_fields__", ())):
        assert inspect.getdoc(inspect.getattr_static(kind, name)), name


@pytest.mark.parametrize("kind", [spech.CallFailed, spech.RequestFailed, spech.RegistrationFailed])
def test_failed_requests_share_status_and_reason(kind: type[spech.SipFailure]) -> None:
    error = kind(486, "Busy Here")
    assert isinstance(error, spech.SipFailure)
    assert (error.status, error.reason, str(error)) == (486, "Busy Here", "486 Busy Here")
