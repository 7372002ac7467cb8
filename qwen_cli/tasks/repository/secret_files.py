"""Which files hold secrets, by their names and by what is in them: nothing of those reaches a model.

The model may be a remote one. Too many files fall under these rules rather than too few: all that a file
loses is suggestions.
"""

from __future__ import annotations

import re
from fnmatch import translate
from pathlib import Path

from qwen_cli.tasks.repository import languages

# After GitHub's gitignore templates, the rules of gitleaks, and the manuals of the tools that write them.
# fmt: off
_NAMES = (
    # variables of the environment
    ".env", ".env.*", ".env-*", ".env_*", "*.env", "*.env.local", "env.local", ".envrc", ".flaskenv",
    ".dev.vars",
    # keys, and stores of keys
    "*.pem", "*.key", "*.p12", "*.pfx", "*.p8", "*.pk8", "*.pkcs8", "*.pkcs12", "*.jks", "*.jceks", "*.bks",
    "*.keystore", "*.kdb", "*.kdbx", "*.keychain", "*.keychain-db", "*.psafe3", "*.gpg", "*.pgp", "*.asc",
    "*.age", "*.ppk", "*.pvk", "*.snk", "*.ovpn", "*.mobileprovision", "id_rsa*", "id_dsa*", "id_ecdsa*",
    "id_ed25519*", "ssh_host_*_key", "*_rsa", "*_dsa", "*_ecdsa", "*_ed25519", "secring.*", "wallet.dat",
    # passwords and tokens that tools keep
    ".netrc", "_netrc", ".authinfo", ".npmrc", ".yarnrc.yml", ".pypirc", ".pgpass", "pgpass.conf", ".my.cnf",
    ".mylogin.cnf", ".htpasswd", "htpasswd", ".htdigest", "passwd", "shadow", "gshadow", ".git-credentials",
    ".s3cfg", ".boto", ".databrickscfg", ".vault-token", ".vault_pass*", "vault_pass*", ".vault-password*",
    ".terraformrc", "terraform.rc", "kubeconfig*", "*.kubeconfig", ".dockercfg", ".dockerconfigjson",
    ".smbcredentials", ".fetchmailrc", ".msmtprc", ".esmtprc", "rclone.conf", "kaggle.json",
    "sftp-config.json", "sftp.json", ".ftpconfig", ".remote-sync.json", "filezilla.xml", "sitemanager.xml",
    "settings-security.xml", "local.settings.json", "wp-config.php", "google-services.json",
    "googleservice-info.plist", "*firebase-adminsdk*.json", "service-account*.json", "service_account*.json",
    "application_default_credentials*", "token", "token.json", "*.token", ".*_token", ".*_history",
    "*.tfvars", "*.tfvars.json", "*.tfstate", "*.tfstate.*",
    # what says so itself
    "credentials", ".credentials", "credentials.*", "*credentials.json", "secret", ".secret", "secret.*",
    "secrets", ".secrets", "secrets.*", "*.secret", "*.secrets",
)
# The same words in longer names. In that of source code they tell what it is about.
_NAMES_OF_DATA = (
    "api_key*", "api-key*", "apikey*", "auth.json", "client_secret*", "pat.txt", "password*", "private_key*",
    "private-key*", "privatekey*", "*[._-]secret.*", "*[._-]secrets.*", "*[._-]password.*",
    "*[._-]passwords.*", "*[._-]credentials.*", "*[._-]token.*", "*[._-]tokens.*",
)
_FOLDERS = frozenset((
    ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".oci", ".gcloud", ".password-store", ".m2",
    ".terraform.d", ".secrets", ".credentials", ".vault",
))
# fmt: on
# Configuration that holds tokens, and where containers find secrets.
_PLACES = re.compile(
    r"(?:^|/)(?:\.config/(?:gh|hub|gcloud|rclone|op|doctl|glab-cli|containers)|run/secrets)/"
)
# What programs and people add to the name of a copy: `.env~`, `id_rsa.bak`, `.id_rsa.swp`, `key (1).pem`.
_COPY = re.compile(
    r"^\.?#|(?:[~#]|\.(?:bak|backup|old|orig|save|saved|copy|tmp|sw[nop]|un~|rej|enc|dec|\d{1,2})|[._-]copy)$"
    r"|(?: copy(?: \d+)?| \(\d+\))(?=\.|$)"
)
_SECRET = re.compile("|".join(map(translate, _NAMES)))
_SECRET_DATA = re.compile("|".join(map(translate, _NAMES_OF_DATA)))

# A private key as PEM or OpenPGP's armour, also inside a string of a program; PuTTY's and age's.
_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:\\[nr]|[\s\"'+\\,]|[A-Z][\w-]*: [^\n]*\n)*[A-Za-z0-9+/=]{16}"
    r"|^PuTTY-User-Key-File-\d|\bAGE-SECRET-KEY-1[0-9A-Z]{16}",
    re.MULTILINE,
)
_KEY_SIGNS = ("PRIVATE KEY", "PuTTY-User-Key-File-", "AGE-SECRET-KEY-1")


def is_secret(path: str) -> bool:
    """Return whether a file's name or folder says that it holds credentials. `path` has forward slashes."""
    *folders, name = path.lower().split("/")
    bare = name
    while (shorter := _COPY.sub("", bare)) != bare:
        bare = shorter
    # Vim's swap file of `id_rsa` is `.id_rsa.swp`.
    names = {name, bare, bare.removeprefix(".")}
    return (
        any(map(_SECRET.match, names))
        or (not languages.is_source(bare) and any(map(_SECRET_DATA.match, names)))
        or not _FOLDERS.isdisjoint(folders)
        or bool(_PLACES.search(path.lower()))
    )


def is_secret_file(file: Path) -> bool:
    """Return whether `file`, by the name it was given or as what a link leads to, holds credentials."""
    return is_secret(file.absolute().as_posix()) or is_secret(file.resolve().as_posix())


def holds_key(text: str) -> bool:
    """Return whether there is a private key in a text, whatever its file is called."""
    # Looked for with each key in each open document: the plain search takes a tenth of the time.
    return any(sign in text for sign in _KEY_SIGNS) and bool(_KEY.search(text))
