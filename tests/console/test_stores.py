"""Vector stores in the browser: create, attach, faults, search, delete."""

from pathlib import Path
from typing import Any

from tests.console.conftest import Open
from tests.support.servers import Server


def test_a_store_is_created_filled_searched_and_deleted(opened: Open, server: Server, tmp_path: Path) -> None:
    file = server.upload(b"Ice melts at zero degrees.", purpose="assistants", name="ice.md")
    page = opened("vector-stores")
    page.click("button", "New vector store")
    page.fill("dialog input[name=name]", "physics")
    page.fill("dialog input[name=days]", "7")
    page.click("dialog button[type=submit]")
    page.wait_for("h1", "physics")
    page.click("button", "Attach files")
    page.wait_for("dialog li", "ice.md")
    local = tmp_path / "steam.md"
    local.write_text("Water boils at a hundred degrees.")
    page.set_files("dialog input[type=file]", local)
    page.click("dialog li label", "ice.md")
    page.fill("dialog textarea", "topic: water\nyear: 2026\nchecked: true")
    page.click("dialog button[type=submit]")
    page.wait_until_gone("dialog")
    page.wait_for_count(".status.good", 3)  # the store and both files
    page.wait_for("td", "steam.md")
    (store,) = [each for each in server.client.get("/vector_stores").json()["data"] if each["name"] == "physics"]
    attached = server.client.get(f"/vector_stores/{store['id']}/files/{file['id']}").json()
    assert attached["attributes"] == {"topic": "water", "year": 2026, "checked": True}

    page.fill("input[type=search]", "melting ice")
    page.press("Enter")
    page.wait_for(".passage", "ice.md")
    assert page.text(".passage mark") == "melts"
    assert 0 < float(page.text(".passage .score")) < 1
    assert "topic: water" in page.text(".passage .attributes")

    page.click("button[aria-label='Detach ice.md']")
    page.wait_until_gone("td", "ice.md")
    page.click(".tools button", "Delete…")
    page.wait_for("dialog .goes-with", "Its index of 1 file is deleted. The file itself stays.")
    page.click("dialog button[type=submit]")
    page.wait_for("h1", "Vector stores")
    assert server.client.get(f"/vector_stores/{store['id']}").status_code == 404
    assert server.client.get(f"/files/{file['id']}").status_code == 200


def test_faults_have_reasons_and_passages_are_text(opened: Open, store: dict[str, Any]) -> None:
    page = opened("vector-stores")
    page.click("a", "manuals")
    page.wait_for(".facts", "(1 failed)")
    page.wait_for("td .fault", "The file could not be parsed.")
    page.fill("input[type=search]", "valve")
    page.press("Enter")
    page.wait_for(".passage blockquote", "<script>alert(1)</script>")
    page.choose(".panel-head select", "failed")
    page.wait_for_count("tbody tr", 1)


def test_a_search_filters_by_an_attribute(opened: Open, store: dict[str, Any]) -> None:
    page = opened(f"vector-stores/{store['id']}")
    page.click("summary", "Filter by an attribute")
    page.fill("input[name=attribute]", "year")
    page.fill("input[name=value]", "2025")
    page.fill("input[type=search]", "valve")
    page.press("Enter")
    page.wait_for("p", "0 passages")
    page.fill("input[name=value]", "2026")
    page.click(".search > button")
    page.wait_for("p", "1 passage")


def test_a_fault_of_the_form_is_shown_in_it(opened: Open, store: dict[str, Any]) -> None:
    page = opened(f"vector-stores/{store['id']}", expected=("status of 404",))
    page.click("button", "Attach files")
    page.fill("dialog textarea", "no colon")
    page.click("dialog button[type=submit]")
    page.wait_for("dialog [role=alert]", "An attribute is written as name: value")
    page.fill("dialog textarea", "")
    page.fill("dialog input[name=id]", "file-none")
    page.click("dialog button[type=submit]")
    page.wait_for("dialog [role=alert]", "No file found with id 'file-none'")
