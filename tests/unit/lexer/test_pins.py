"""What operators say about patterns wins, and what they write wrongly is said in one line."""

from pathlib import Path

import pytest

import neve
from lexer.errors import PinsInvalid
from lexer.patterns import learn
from lexer.pins import Pins, read_pins


def pins(folder: Path, text: str) -> Pins:
    path = folder / "patterns.toml"
    path.write_text(text)
    return read_pins(path)


def shown(templates: list[bytes], given: Pins) -> dict[bytes, tuple[bytes, str]]:
    return {template: (p.template, p.name) for template, p in learn(templates, given).items()}


def test_pin_takes_what_is_of_its_form(tmp_path: Path) -> None:
    given = pins(tmp_path, '[[pin]]\ntemplate = "user <*> logged in"\nname = "login"\n')
    templates = [
        b"user bob logged in",
        b"user <*> from <*> logged in",
        b"user logged in",
        b"a user bob logged in",
    ]
    found = shown(templates, given)
    assert [found[t] for t in templates] == [(b"user <*> logged in", "login")] * 2 + [
        (t, "") for t in templates[2:]
    ]


def test_pin_without_places_is_that_template_alone(tmp_path: Path) -> None:
    names = ["alice", "bob", "carol", "dave", "erin", "frank"]
    templates = [f"session opened for user {name} now".encode() for name in names]
    given = pins(tmp_path, '[[pin]]\ntemplate = "session opened for user bob now"\n')
    assert {text for text, _ in shown(templates, given).values()} == {
        b"session opened for user <*> now",
        b"session opened for user bob now",
    }


def test_split_keeps_apart_what_is_learnt_as_one(tmp_path: Path) -> None:
    hosts = ["web_a", "web_b", "web_c", "web_d"]
    templates = [f"host {host} has pool Red_x".encode() for host in hosts]
    templates += [f"host {host} has pool Blue_y".encode() for host in hosts]
    templates += [f"host {host} has pool Green_z".encode() for host in hosts]
    assert {p.template for p in learn(templates).values()} == {b"host <*> has pool <*>"}
    given = pins(tmp_path, '[[split]]\ntemplate = "host <*> has pool <=>"\n')
    assert {p.template for p in learn(templates, given).values()} == {
        b"host <*> has pool Red_x", b"host <*> has pool Blue_y", b"host <*> has pool Green_z",
    }  # fmt: skip


def test_merge_and_name(tmp_path: Path) -> None:
    text = """
    [[merge]]
    templates = ["link <*> is up", "link <*> is down"]
    template = "link <*> changed"
    name = "flap"
    [[name]]
    template = "took <*>"
    name = "duration"
    """
    given = pins(tmp_path, text)
    found = shown([b"link <*> is up", b"link <*> is down", b"took <*>"], given)
    assert found == {
        b"link <*> is up": (b"link <*> changed", "flap"),
        b"link <*> is down": (b"link <*> changed", "flap"),
        b"took <*>": (b"took <*>", "duration"),
    }
    (id_,) = {pattern.id for pattern in learn([b"took <*>"]).values()}
    given = pins(tmp_path, f'[[name]]\npattern = "{id_:016x}"\nname = "by id"\n')
    assert shown([b"took <*>"], given) == {b"took <*>": (b"took <*>", "by id")}


WRONG = {
    "x = ": "cannot read pins {}: ",
    'pins = "x"': "cannot use key 'pins' in {}; known keys: pin, name, split, merge",
    'pin = "x"': "cannot use key 'pin' in {}: it is no list; write it as [[pin]]",
    "[[pin]]": "cannot find key 'pin[1].template' in {}; give pin[1] a template",
    '[[pin]]\ntemplate = "a"\n[[pin]]\ntext = "b"': "cannot use key 'pin[2].text' in {}; known keys: template, name",
    "[[pin]]\ntemplate = 3": "cannot use key 'pin[1].template' in {}: 3; give a text in quotes",
    '[[pin]]\ntemplate = "a <=>"': "cannot use key 'pin[1].template' in {}: 'a <=>'; write <=> only in split",
    '[[split]]\ntemplate = "a <*>"': "cannot use key 'split[1].template' in {}; write <=> where words",
    '[[merge]]\ntemplates = ["a"]': "cannot use key 'merge[1].templates' in {}: ['a']; give a list of two",
    '[[name]]\nname = "a"': "cannot use 'name[1]' in {}; give it either a template or a pattern",
    '[[name]]\nname = "a"\npattern = "12"': "cannot use key 'name[1].pattern' in {}: '12'; give 16 hexadecimal digits",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said(text: str, tmp_path: Path) -> None:
    with pytest.raises(PinsInvalid) as caught:
        pins(tmp_path, text)
    said = str(caught.value)
    assert said.startswith(WRONG[text].format(tmp_path / "patterns.toml"))
    assert "\n" not in said


def test_forms_made_to_be_slow_are_not(tmp_path: Path) -> None:
    given = pins(tmp_path, f'[[pin]]\ntemplate = "{"a <*> " * 40}z"\n')
    assert len(learn([b"a b " * 5000, b"a " * 20_000], given)) == 2


def test_the_command(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    (tmp_path / "log").write_bytes(b"link eth9x is up\nlink eth9y is down\n")
    pinned = tmp_path / "pins.toml"
    pinned.write_text('[[merge]]\ntemplates = ["link <*> is up", "link <*> is down"]\n')
    assert neve.main(["lex", "--patterns", "--pins", str(pinned), str(tmp_path / "log")]) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert lines[0] == lines[1]
    assert lines[0].endswith(b"\tlink <*> is up")
    pinned.write_text("[[pni]]\n")
    assert neve.main(["lex", "--patterns", "--pins", str(pinned), str(tmp_path / "log")]) == 2
    assert b"cannot use key 'pni'" in capfdbinary.readouterr().err
