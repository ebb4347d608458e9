"""What file names say."""

from pathlib import Path

import pytest

from ingest.sources.names import expand, fixed_folder, kubernetes_of, matcher, root_of, service_of


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/var/log/app.log", "app"),
        ("/var/log/app.log.1", "app"),
        ("/var/log/app.log.12.gz", "app"),
        ("/var/log/app.log-20240131", "app"),
        ("/var/log/app.log-20240131.gz", "app"),
        ("/var/log/app-2024-01-31.log", "app"),
        ("/var/log/syslog", "syslog"),
        ("/var/log/syslog.1", "syslog"),
        ("/data/OpenStack_2k.log", "OpenStack_2k"),
        ("/x/events.jsonl", "events"),
        ("/x/.log", ".log"),
        ("/x/2024-01-31.log", "2024-01-31"),
        ("/x/web-1.log", "web-1"),
    ],
)
def test_service_is_the_bare_name(path: str, service: str) -> None:
    assert service_of(path) == service


@pytest.mark.parametrize(
    "name", ["a.log", "a.log.1", "a.log.2.gz", "a.log-20240131", "a-20240131.log.gz", "a.log.old"]
)
def test_rotated_names_have_one_root(name: str) -> None:
    assert root_of(name) == "a.log"


@pytest.mark.parametrize(("one", "other"), [("a.log", "b.log"), ("a.log", "ab.log"), ("a.log", "a.txt")])
def test_other_names_have_other_roots(one: str, other: str) -> None:
    assert root_of(one) != root_of(other)


def test_paths_globs_and_folders_expand(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "c.txt", "deep/d.log", "odd[1].log"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def names(pattern: str) -> list[str]:
        return [
            str(Path(path).relative_to(tmp_path))
            for path in expand(str(tmp_path / pattern))
            if Path(path).is_file()
        ]

    assert names("*.log") == ["a.log", "b.log", "odd[1].log"]
    assert names("**/*.log") == ["a.log", "b.log", "deep/d.log", "odd[1].log"]
    assert names("a.log") == ["a.log"]
    assert names("odd[1].log") == ["odd[1].log"]
    assert names("nothing.log") == []
    assert names("") == ["a.log", "b.log", "c.txt", "deep/d.log", "odd[1].log"]


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/l/*.log", "/l/a.log", True),
        ("/l/*.log", "/l/x/a.log", False),
        ("/l/**/*.log", "/l/a.log", True),
        ("/l/**/*.log", "/l/x/y/a.log", True),
        ("/l/a?.log", "/l/ab.log", True),
        ("/l/a[bc].log", "/l/ab.log", True),
        ("/l/a[!bc].log", "/l/ab.log", False),
        ("/l/a.log", "/l/axlog", False),
    ],
)
def test_matcher_agrees_with_the_glob(pattern: str, path: str, matches: bool) -> None:
    assert bool(matcher(pattern).fullmatch(path)) is matches


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [("/l/*.log", "/l"), ("/l/*/x/*.log", "/l"), ("/l/a.log", "/l"), ("/*.log", "/")],
)
def test_watched_folder_has_no_wildcard(pattern: str, folder: str) -> None:
    assert fixed_folder(pattern) == folder


ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "path",
    [
        f"/var/log/containers/shop-7d9f-x2_prod_web-{ID}.log",
        "/var/log/pods/prod_shop-7d9f-x2_3f1c9a52-1111-2222-3333-444455556666/web/0.log",
        "/var/log/pods/prod_shop-7d9f-x2_3f1c9a52/web/12.log.20261129-100000.gz",
    ],
)
def test_a_kubelets_file_says_whose_it_is(path: str) -> None:
    assert kubernetes_of(path) == {
        "k8s.pod.name": "shop-7d9f-x2", "k8s.namespace.name": "prod", "k8s.container.name": "web"
    }  # fmt: skip
    assert service_of(path) == "web"


@pytest.mark.parametrize("path", ["/var/log/app.log", f"/x/a_b-{ID}.log", "/var/log/pods/a_b/c/0.log"])
def test_other_files_do_not(path: str) -> None:
    assert kubernetes_of(path) == {}
