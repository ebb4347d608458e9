"""The page is served with its files, and nothing but its own may run in it."""

import pytest

from bench.server import Server


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/pages/search.js", "text/javascript"), ("/pages/style.css", "text/css")],
)
def test_the_page_and_its_files_are_served(server: Server, path: str, kind: str) -> None:
    answer = server.client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_other_files_are_not(server: Server) -> None:
    for path in ("/pages/nothing.js", "/pages/..%2fapp.py", "/pages/index.html"):
        answer = server.client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
