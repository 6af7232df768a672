"""`secret set`."""

import stat

import pytest


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", ["voyado.api_key", "voyado.key", "file:voyado.key"])
def test_a_secret_goes_where_its_reference_points(answer, config, name):
    """The key, the reference's name and the whole reference name the same file, which is then 0600."""
    file = config.with_name("voyado.key")
    file.chmod(0o644)

    told = answer("secret", "set", name, stdin="  another-key \n")

    assert told == {"key": "voyado.api_key", "reference": "file:voyado.key", "path": str(file)}
    assert file.read_text() == "another-key\n"
    assert mode(file) == 0o600
    assert [path.name for path in config.parent.iterdir() if path.name.startswith(".")] == []


def test_a_credential_goes_beside_the_configuration(call, config):
    """A credential lies where a service manager takes it from, and where commands read it without one."""
    assert call("secret", "set", "voyado-sftp", stdin="made-up").exit_code == 0

    file = config.parent / "credentials" / "voyado-sftp"
    assert (file.read_text(), mode(file), mode(file.parent)) == ("made-up\n", 0o600, 0o700)


def test_credentials_beside_the_configuration_are_read(call, config, monkeypatch):
    """What `secret set` wrote satisfies `config check`, outside a service manager."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "")
    monkeypatch.setenv("LOYALTY_AGENT__VOYADO__API_KEY", "credential:voyado-key")
    assert call("config", "check").exit_code == 78

    call("secret", "set", "voyado.api_key", stdin="made-up")

    assert call("config", "check").exit_code == 0


def test_the_value_is_never_shown(call):
    """Neither output nor error repeats what was written."""
    done = call("secret", "set", "voyado.api_key", stdin="very-secret")

    assert "very-secret" not in done.output


@pytest.mark.parametrize(
    ("name", "stdin", "says"),
    [
        ("nothing", "x", "voyado.api_key (file:voyado.key)"),
        ("voyado.api_key", " \n", "standard input"),
    ],
    ids=["unknown name", "nothing given"],
)
def test_what_cannot_be_set_is_64(call, config, name, stdin, says):
    """An unknown name and an empty value change nothing."""
    done = call("secret", "set", name, stdin=stdin)

    assert done.exit_code == 64
    assert says in done.stderr
    assert config.with_name("voyado.key").read_text() == "made-up-key\n"


def test_a_variable_is_not_the_agents_to_set(call, monkeypatch):
    """An env: reference is told, not written anywhere."""
    monkeypatch.setenv("LOYALTY_AGENT__VOYADO__API_KEY", "env:VOYADO_KEY")

    done = call("secret", "set", "voyado.api_key", stdin="x")

    assert done.exit_code == 64
    assert "env:VOYADO_KEY" in done.stderr


def test_a_secret_that_cannot_be_written_leaves_the_old_one(call, config):
    """A file in the way of the directory is an I/O error, and nothing is half written."""
    config.with_name("credentials").write_text("in the way")

    assert call("secret", "set", "voyado-sftp", stdin="x").exit_code == 74
