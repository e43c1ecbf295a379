"""The browser in which the page is tested: the system's chromium, driven by Playwright."""

import shutil
from contextlib import contextmanager

ARGUMENTS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update"]


def missing():
    """What has to be installed for a browser to be there, or ""."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "Playwright is not installed: pip install '.[browser]'"
    return "" if shutil.which("chromium") else "chromium is not installed: apt-get install chromium"


@contextmanager
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()
