"""Contacts in the page: to find whom to call, and to see who it is."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from .heard import in_call
from .page import Telephone

#: Longer than a command may be: the file goes in parts, and no character may be torn.
FACES = "\U0001f600" * 20_000
CARDS = (
    "BEGIN:VCARD\nVERSION:3.0\nFN:Dora\nTEL;TYPE=CELL:+49 171 1\nEND:VCARD\n"
    f"BEGIN:VCARD\nVERSION:3.0\nFN:Emil\nX-ODDS:{FACES}\nX-EVEN1:{FACES}\nTEL:602\nEND:VCARD\n"
)


def test_a_contact_is_found_by_name_called_and_shown(registered: Telephone) -> None:
    page = registered.page
    registered.element("contacts-open").click()
    expect(registered.element("contacts-nothing")).to_be_visible()
    registered.element("contact-add").click()
    registered.element("contact-save").click()
    expect(page.locator("#contact-problem")).to_be_visible()
    registered.element("contact-name").fill("Bob Börger")
    registered.element("contact-number").fill("600")
    registered.element("contact-favourite").check()
    registered.element("contact-save").click()
    expect(registered.element("contact")).to_contain_text("Bob Börger")

    registered.element("contacts-file").set_input_files(
        {"name": "phone.vcf", "mimeType": "text/vcard", "buffer": CARDS.encode()}
    )
    expect(registered.element("contacts-told")).to_contain_text("2 added")
    expect(registered.element("contact")).to_have_count(3)
    registered.element("contacts-search").fill("171")
    expect(registered.element("contact")).to_have_count(1)
    with page.expect_download() as download:
        registered.element("contacts-vcf").click()
    assert "FN:Emil" in Path(download.value.path()).read_text()
    registered.picture("contacts")
    page.keyboard.press("Escape")

    expect(registered.element("favourite")).to_contain_text("Bob Börger")
    registered.element("number").press_sequentially("borg")
    expect(registered.element("suggestion")).to_have_count(1)
    registered.picture("suggestions")
    below = registered.element("suggestions").bounding_box()
    keys = registered.element("key-1").bounding_box()
    assert below is not None
    assert keys is not None
    assert below["y"] + below["height"] <= keys["y"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(registered.element("number")).to_have_value("600")
    page.keyboard.press("Enter")
    in_call(registered)
    expect(page.get_by_role("heading", name="Bob Börger")).to_be_visible()
    registered.element("hangup").click()
    registered.element("dismiss").click()
    expect(registered.element("recent").locator("li").first).to_contain_text("Bob Börger")

    registered.element("contacts-open").click()
    registered.element("contact").first.click()
    registered.element("contact-forget").click()
    registered.element("contact-forget").click()
    expect(registered.element("contact")).to_have_count(2)
