"""Which files never reach a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_cli.tasks.repository.secret_files import holds_key, is_secret, is_secret_file

# fmt: off
SECRET = (
    ".env", ".env.local", ".env.production", "prod.env", ".envrc", ".ENV", "app/.env", ".env~",
    ".env.swp", ".env.bak", ".#.env", "#.env#", ".env (1)", "id_rsa", "id_ed25519", "id_rsa.pub",
    ".id_rsa.swp", "deploy_rsa", "id_rsa.old", "server.pem", "server.pem.bak", "server copy.pem",
    "tls.key", "cert.p12", "cert.pfx", "app.keystore", "vault.kdbx", "ssh_host_ed25519_key",
    "key.asc", "backup.gpg", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd",
    ".git-credentials", "credentials", "credentials.json", "credentials.toml",
    "credentials (2).json", "aws_credentials.csv", "client_secret_123.apps.json", "secrets.yml",
    "secrets.yml.enc", "db-secret.yaml", "app.secrets.json", ".secrets", "token.json",
    "github_token.txt", "terraform.tfvars", "terraform.tfstate", "terraform.tfstate.backup",
    "kubeconfig", "kubeconfig.yaml", "prod.kubeconfig", "service-account-key.json",
    "my-firebase-adminsdk-x1.json", "passwords.txt", "db_password.ini", "auth.json",
    ".bash_history", ".psql_history", ".vault-token", "vault_pass.txt", ".yarnrc.yml",
    "local.settings.json", "home/ada/.ssh/config", "home/ada/.aws/config", "home/ada/.kube/config",
    "home/ada/.docker/config.json", "home/ada/.config/gh/hosts.yml",
    "home/ada/.config/gcloud/properties", "run/secrets/db", "home/ada/.gnupg/gpg.conf",
    "home/ada/.m2/settings.xml",
)
ORDINARY = (
    "main.py", "environment.py", "env.py", ".envoy/a.yaml", "keys.py", "key.ts", "keyboard.c",
    "token.py", "tokens.json", "tokenizer.json", "tokenizer_config.json", "api_keys.py",
    "reset_password.ts", "password_reset.go", "oauth_token.rs", "secretary.py", "package.json",
    "README.md", ".gitignore", "config.toml", ".github/workflows/ci.yml", "history.py",
    "pemican.py", "Makefile", ".eslintrc.json", "ssh/config.py", "docker/Dockerfile", "aws/main.tf",
    "public.crt",
)
# fmt: on


@pytest.mark.parametrize("path", SECRET)
def test_a_name_that_says_secret_is_one(path: str) -> None:
    assert is_secret(path)


@pytest.mark.parametrize("path", ORDINARY)
def test_an_ordinary_name_is_none(path: str) -> None:
    assert not is_secret(path)


def test_a_link_is_judged_by_both_its_names(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "settings.sh").symlink_to(tmp_path / ".env")
    (tmp_path / "plain").write_text("A=1\n")
    (tmp_path / ".netrc").symlink_to(tmp_path / "plain")
    assert is_secret_file(tmp_path / "settings.sh")
    assert is_secret_file(tmp_path / ".netrc")
    assert not is_secret_file(tmp_path / "plain")


BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
KEYS = (
    f"-----BEGIN PRIVATE KEY-----\n{BODY}\n",
    f"-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-256-CBC,1F\r\n\r\n{BODY}",
    f"-----BEGIN OPENSSH PRIVATE KEY-----\n{BODY}",
    f"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n{BODY}",
    f'{{"private_key": "-----BEGIN PRIVATE KEY-----\\n{BODY}\\n"}}',
    f'KEY = (\n    "-----BEGIN EC PRIVATE KEY-----\\n"\n    "{BODY}\\n"\n)\n',
    "PuTTY-User-Key-File-3: ssh-ed25519\n",
    "# created: today\nAGE-SECRET-KEY-1QQPQ2SU3Y3X5Q9GV6MFSRVR3\n",
)


@pytest.mark.parametrize("text", KEYS)
def test_a_private_key_is_found_in_a_text_of_any_name(text: str) -> None:
    assert holds_key("first line\n" + text)


@pytest.mark.parametrize(
    "text",
    [
        'HEADER = "-----BEGIN PRIVATE KEY-----"\n',
        "if line.startswith('-----BEGIN RSA PRIVATE KEY-----'):\n    return parse(line)\n",
        f"-----BEGIN PUBLIC KEY-----\n{BODY}\n",
        f"-----BEGIN CERTIFICATE-----\n{BODY}\n",
    ],
)
def test_code_about_keys_and_public_ones_hold_none(text: str) -> None:
    assert not holds_key(text)
