"""The operator's page follows a gateway that works."""

import re

from playwright.sync_api import Browser, Route, expect

from tests.web.pages.browsing import generate, open_page


def test_it_shows_what_is_loaded_and_what_was_asked(browser: Browser, gateway: str) -> None:
    with open_page(browser, f"{gateway}/") as page:
        generate(page, "a red apple", Steps="3", Pictures="2")
        page.get_by_role("link", name="Status").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Ready")
        endpoint = page.locator("#endpoints tr", has_text="emoji")
        expect(endpoint).to_contain_text("StableDiffusionPipeline")
        latest = page.locator("#recent tr").first
        expect(latest).to_contain_text(re.compile("POST /v1/images/generations.*emoji.*2.*3.*200"))
        expect(page.locator("#step")).to_have_text(re.compile(r"^\d+ ms$"))
        assert page.locator("#batches rect").count() > 0


def test_what_is_to_be_mended_is_on_it(browser: Browser, gateway: str) -> None:
    with open_page(browser, f"{gateway}/status") as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Ready")
        expect(page.locator("#faults")).to_be_hidden()
        coming = {"model": "emoji", "num_files": 3, "done_bytes": 2**20, "total_bytes": 2**31}
        told: dict[str, object] = {"fetching": [coming]}

        def faulty(route: Route) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, json=answer.json() | told)

        page.route("**/status.json", faulty)
        row = page.locator("#endpoints tr", has_text="emoji")
        expect(row).to_contain_text("fetching 3 files: 1 MiB of 2.0 GiB")
        told = {"unusable": {"emoji": "is cut short"}, "passed_over": ["old.ckpt: a pickle"]}
        expect(page.locator("#faults tr", has_text="emoji")).to_contain_text("is cut short")
        expect(page.locator("#faults")).to_contain_text("old.ckpt: a pickle")
        expect(page.locator("#endpoints tr", has_text="emoji")).to_contain_text("unusable")


def test_several_replicas_are_told_apart_and_in_sum(browser: Browser, gateway: str) -> None:
    fault = "an illegal memory access was encountered " * 4
    with open_page(browser, f"{gateway}/status", viewport={"width": 390, "height": 900}) as page:
        most = page.locator("#waiting-most")
        expect(most).to_have_text(re.compile(r"of \d+ before 429"))
        alone = int((most.text_content() or "").split()[1])

        def of_two(route: Route) -> None:
            answer = route.fetch()
            snapshot = answer.json()
            one = {"id": "emoji", "pipeline": "P", "size_bytes": 1, "ranks": {}}
            one |= {"used_bytes": 1, "planned_bytes": 1}
            idle = {"process": 4, "host": "box", "num_running": 0, "num_waiting": 0}
            snapshot["engine"] |= {
                "loaded": [
                    one | {"device": "cuda:0", "adapters": ["3d"]},
                    one | {"device": "cuda:1", "adapters": ["3d", "line"]},
                ],
                "replicas": [
                    idle | {"name": "cuda:0", "standing": "ready", "queued_seconds": 63.2},
                    idle | {"name": "cuda:1", "standing": "dead", "queued_seconds": 0}
                    | {"fault": fault},
                ],
            }  # fmt: skip
            route.fulfill(response=answer, json=snapshot)

        page.route("**/status.json", of_two)
        replicas = page.locator("#replicas tr")
        told = [re.compile("cuda:0.*ready.*4 on box.*63.2 s"), re.compile("cuda:1.*dead")]
        expect(replicas).to_have_text(told)
        expect(page.locator("#endpoints tr", has_text="emoji")).to_contain_text("cuda:0, cuda:1")
        expect(page.locator("#endpoints tr", has_text="emoji")).to_contain_text("3d, line")
        expect(most).to_have_text(f"of {2 * alone} before 429")
        box = replicas.nth(1).locator("td.text").bounding_box()
        assert box is not None
        assert box["width"] > box["height"]  # it is read as lines, not letter by letter


def test_it_is_live(browser: Browser, gateway: str) -> None:
    with open_page(browser, f"{gateway}/status") as status:
        expect(status.get_by_role("heading", level=1)).to_have_text("Ready")
        before = status.locator("#recent").text_content()
        with open_page(browser, f"{gateway}/") as page:
            generate(page, "a blue circle")
        expect(status.locator("#recent")).not_to_have_text(before or "")


def test_a_gateway_that_went_away_is_said_to_be_gone(browser: Browser, gateway: str) -> None:
    with open_page(browser, f"{gateway}/status", refused=True) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Ready")
        page.route("**/status.json", lambda route: route.abort())
        expect(page.get_by_role("heading", level=1)).to_have_text("No answer")
        expect(page.get_by_role("alert")).to_contain_text("does not answer")
        page.unroute("**/status.json")
        expect(page.get_by_role("heading", level=1)).to_have_text("Ready")
        expect(page.get_by_role("alert")).to_be_hidden()
