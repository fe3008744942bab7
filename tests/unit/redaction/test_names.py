"""Names of secrets are recognised in any spelling and language, other names are not."""

from __future__ import annotations

import pytest

from otel_cinder.redaction.names import folded, lowered, may_promise, promises_secret, says_about

SECRETS = """
password Password PASSWORD passWord pass_word pass-word pass.word psswrd paswd passworsd PSWRD userpass
adminPw bindpw rootpw chap_pw sanPassword2 san_password hpe3par_password X-Auth-Token iBaseToken
DELL-EMC-TOKEN SessionKey X-HP3PAR-WSAPI-SessionKey apiKey API-Key apikey xApiKey AccessKeySecret
aws_secret_access_key storageKey SharedAccessKey private_key privKey sshKey luksKey signing_key
masterKey preSharedKey pre-shared-key wpa_psk snmpCommunity rocommunity communityString totpSecret
otp pin pin_code pinNumber verificationCode recovery_code 2fa_code sig hmac_key clientSecret secret_id
bearerToken jwt JSESSIONID csrf_token cookie credentials login_cred Authorization provider_auth
auth_username keytab passwordHash nthash fixed_key keyring storepass user_data connection_info
密码 登录密码 管理员密码 口令 密钥 访问令牌 凭证 私钥 パスワード 管理者パスワード 비밀번호 пароль
ПарольАдминистратора Passwort Benutzerpasswort Kennwort motDePasse contraseña senha hasło heslo
wachtwoord lösenord şifre ｐａｓｓｗｏｒｄ
""".split()

OTHERS = """
bypass compass trespass passthrough passed passive author authentic authority keyboard monkey turkey
primary_key public_key sort_key routing_key chapter opinion mapping spinning design signal assign
volume_id display_name host size status pool backend snapshot tokyo secretary_of passwordless inside
""".split()


@pytest.mark.parametrize("name", SECRETS)
def test_names_of_secrets_are_known(name: str) -> None:
    """However it is spelt, the name of a secret promises one."""
    assert promises_secret(name)
    assert promises_secret(f"backend_{name}")


@pytest.mark.parametrize("name", OTHERS)
def test_other_names_promise_nothing(name: str) -> None:
    """Names that only look like a secret's promise none, except a secretary's."""
    assert promises_secret(name) == (name == "secretary_of")


@pytest.mark.parametrize("name", ["key", "volume_key", "sid", "ticket", "nonce", "auth", "session"])
def test_some_names_may_promise_a_secret(name: str) -> None:
    """Of some names the value has to look like a secret."""
    assert may_promise(name)
    assert not promises_secret(name)


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("password_length", True),
        ("token_type", True),
        ("tokenCacheTime", True),
        ("ssh_key_path", True),
        ("password", False),
        ("type", False),
        ("secret_id", False),
    ],
)
def test_names_that_describe_a_secret(name: str, about: bool) -> None:
    """A secret's size, place or age is no secret; its id is one."""
    assert says_about(name) is about


def test_texts_keep_their_length() -> None:
    """Full-width forms and typographic marks are read as the usual ones, in their places."""
    odd = "ｐａｓｓ：“İé”"
    assert folded(odd) == 'pass:"İé"'
    assert len(lowered("İ" * 3)) == 3
    assert folded("plain") == "plain"
