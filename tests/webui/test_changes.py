import re


def test_page_tells_who_changed_what_and_why(coordinator, full_desk):
    page = coordinator.get("/changes").text
    assert "Changed a cell: “Online games (not educational)” for Key Stage 2" in page
    assert 'title="games for ks2"' in page
    assert 'title="r.example">Robin Example<' in page
    assert "Year 1 tablet 12: EYFS and Key Stage 1" in page
    assert ">The button on the panel<" in page
    assert "Acceptable at certain times → Unacceptable" in page
    assert "Too many asked for games in lessons." in page


def test_page_leads_to_older_ones(coordinator, desk):
    for number in range(60):
        desk.set_cell(
            group="ks2", row="video", cell="times", reason=f"reason {number}.", actor="r.example"
        )
    first = coordinator.get("/changes").text
    assert "reason 59." in first
    assert "reason 9." not in first
    older = re.search(r'href="([^"]+)" rel="next"', first)[1]
    second = coordinator.get(older).text
    assert "reason 9." in second
    assert 'rel="next"' not in second


def test_cannot_see_is_for_everybody(stranger):
    assert "No filter sees everything." in stranger.get("/cannot-see").text
