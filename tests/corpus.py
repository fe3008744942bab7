"""Secrets, each planted where Cinder really has one, in the form that it really has there.

Each is drawn from the alphabet of its kind, so no two look alike and no common sign gives them away.
"""

from __future__ import annotations

import base64
import html
import json
import random
import shlex
import string
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

Form = Literal["text", "value", "literal"]


_WINDOW = 8
"""Characters of a secret that must not be seen, if it has no more than twice as many."""


@dataclass(frozen=True, eq=False)
class Planted:
    """One secret, and what is said around it."""

    place: str
    secret: str
    said: Any
    """A text, or an object."""
    form: Form = "text"
    """``literal``: nothing in the text gives it away, so that it must have been learned."""

    @property
    def name(self) -> str:
        """Say where it is planted, with something to tell it by."""
        return f"{self.place}: {self.secret[:40]!r}"


CORPUS: list[Planted] = []

HEADER = "request header"
BODY = "request body"
CONNECTION = "connection info"
EXCEPTION = "driver exception"
IMAGE = "image metadata"
CONFIGURED = "configuration"
COMMAND = "command"
LOG = "log line"
LOGIN = "login"
SPOKEN = "sentence"
FOREIGN = "other language"


def _draw(kind: str, salt: str) -> str:
    source = random.Random(f"{kind} {salt}")

    def pick(alphabet: str, count: int) -> str:
        return "".join(source.choices(alphabet, k=count))

    letters, digits = string.ascii_letters, string.digits
    match kind:
        case "base64":
            return base64.b64encode(source.randbytes(23)).decode()
        case "hex":
            return source.randbytes(20).hex()
        case "uuid":
            return str(uuid.UUID(int=source.getrandbits(128), version=4))
        case "fernet":
            return "gAAAAAB" + pick(letters + digits + "-_", 130) + "=="
        case "jwt":
            parts = (json.dumps({"alg": "HS256"}), json.dumps({"sub": pick(letters, 9)}))
            encoded = [base64.urlsafe_b64encode(p.encode()).decode().rstrip("=") for p in parts]
            return ".".join([*encoded, pick(letters + digits + "-_", 43)])
        case "ceph":
            return "AQ" + base64.b64encode(source.randbytes(27)).decode() + "AA=="
        case "dhchap":
            return f"DHHC-1:01:{base64.b64encode(source.randbytes(36)).decode()}:"
        case "pem":
            body = base64.b64encode(source.randbytes(150)).decode()
            lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
            return f"-----BEGIN RSA PRIVATE KEY-----\n{lines}\n-----END RSA PRIVATE KEY-----"
        case "words":
            return " ".join(pick(string.ascii_lowercase, 7) for _ in range(4))
        case "symbols":
            return pick(letters, 3) + pick("!#%&*+;?^~$", 4) + pick(letters + digits, 6) + "/@:!"
        case "quotes":
            return f"{pick(letters, 6)}'{pick(digits, 4)}\"{pick(letters, 6)}\\{pick(letters, 5)}"
        case "foreign":
            return (
                pick("абвгдежзийклмнопрстуфхцчшщ", 6) + pick(letters, 6) + "ßéñ" + pick(digits, 4)
            )
        case "alnum":
            return pick(letters + digits, 20)
    raise ValueError(kind)


def _plant(
    place: str, kind: str, said: Callable[[str], Any], form: Form = "text", salt: str = ""
) -> None:
    secret = _draw(kind, f"{len(CORPUS)} {salt}")
    CORPUS.append(Planted(place, secret, said(secret), form))


def drawn(place: str, kind: str) -> Planted:
    """Return a secret for a test to plant itself."""
    secret = _draw(kind, place)
    return Planted(place, secret, secret)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _headers() -> None:
    """Texts of callers, as a dump, a dictionary, a tuple or a command has them."""
    _plant(HEADER, "fernet", lambda s: f"X-Auth-Token: {s}")
    _plant(HEADER, "hex", lambda s: str({"X-Auth-Token": s, "Accept": "*/*"}))
    _plant(
        HEADER,
        "uuid",
        lambda s: f"GET /v3/c1de/volumes HTTP/1.1\r\nX-Auth-Token: {s}\r\nAccept: */*",
    )
    _plant(HEADER, "alnum", lambda s: f"HTTP_X_AUTH_TOKEN={s} HTTP_HOST=127.0.0.1")
    _plant(HEADER, "base64", lambda s: f"Authorization: Basic {s}")
    _plant(HEADER, "alnum", lambda s: str({"Authorization": f"Basic {_encoded(f'admin:{s}')}"}))
    _plant(HEADER, "jwt", lambda s: f"authorization: Bearer {s}, Accept: */*")
    _plant(HEADER, "alnum", lambda s: f"Using Bearer {s} for the request")
    _plant(
        HEADER,
        "hex",
        lambda s: (
            f'Authorization: Digest username="admin", realm="array", nonce="7", response="{s}"'
        ),
    )
    _plant(
        HEADER,
        "hex",
        lambda s: (
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20261122/us-east-1/s3/aws4_request, "
            f"SignedHeaders=host;x-amz-date, Signature={s}"
        ),
    )
    _plant(HEADER, "fernet", lambda s: json.dumps({"X-Service-Token": s, "size": 1}))
    _plant(HEADER, "hex", lambda s: f"X-Subject-Token: {s}")
    _plant(HEADER, "alnum", lambda s: f"Cookie: theme=dark; sessionid={s}; lang=en")
    _plant(HEADER, "alnum", lambda s: f"Set-Cookie: JSESSIONID={s}; Path=/; HttpOnly")
    _plant(HEADER, "alnum", lambda s: f"[('Content-Type', 'text/xml'), ('X-Auth-Token', '{s}')]")
    _plant(HEADER, "hex", lambda s: f"Authorization: Session {s}")
    _plant(
        HEADER,
        "alnum",
        lambda s: f"send: b'GET / HTTP/1.1\\r\\nAuthorization: Token {s}\\r\\nHost: a'",
    )
    _plant(HEADER, "alnum", lambda s: f"> Authorization: ApiKey {s}\n> Accept: */*")
    _plant(HEADER, "base64", lambda s: f"Proxy-Authorization: Basic {s}\r\n")
    _plant(HEADER, "hex", lambda s: {"headers": {"x-auth-token": s, "accept": "*/*"}}, "value")
    _plant(HEADER, "alnum", lambda s: [("Host", "a"), ("X-Auth-Token", s)], "value")


def _bodies() -> None:
    """Requests of callers."""
    _plant(BODY, "alnum", lambda s: json.dumps({"volume": {"metadata": {"password": s}}}))
    _plant(BODY, "quotes", lambda s: json.dumps({"volume": {"metadata": {"password": s}}}))
    _plant(BODY, "words", lambda s: {"volume": {"size": 1, "metadata": {"note": s}}}, "value")
    _plant(
        BODY,
        "base64",
        lambda s: {"server": {"user_data": s, "name": "vm"}},
        "value",
    )
    _plant(BODY, "base64", lambda s: f"{{'volume_id': '7', 'user_data': '{s}'}}")
    _plant(BODY, "alnum", lambda s: {"scheduler_hints": {"auth_key": s, "same_host": []}}, "value")
    _plant(BODY, "alnum", lambda s: json.dumps({"os-volume_manage": {"ref": {"api_key": s}}}))
    _plant(
        BODY,
        "symbols",
        lambda s: {"connector": {"host": "vm1", "auth_password": s, "initiator": "iqn.1994"}},
        "value",
    )
    _plant(BODY, "hex", lambda s: {"encryption": {"encryption_key_id": s, "size": 256}}, "value")
    _plant(
        BODY,
        "symbols",
        lambda s: json.dumps(
            {"auth": {"identity": {"password": {"user": {"name": "cinder", "password": s}}}}}
        ),
    )
    _plant(BODY, "words", lambda s: json.dumps({"auth": {"methods": ["x"], "proof": s}}))
    _plant(BODY, "symbols", lambda s: f"grant_type=password&client_secret={quote(s)}&scope=all")
    _plant(BODY, "alnum", lambda s: quote(json.dumps({"password": s, "size": 1})))
    _plant(BODY, "alnum", lambda s: f"auth%5Bpassword%5D={s}&size=1")


def _connections() -> None:
    """Connection properties that drivers return."""
    for key in ("auth_password", "discovery_auth_password"):
        _plant(CONNECTION, "alnum", lambda s, key=key: str({"target_lun": 1, key: s}))
        _plant(CONNECTION, "symbols", lambda s, key=key: {"data": {key: s}}, "value")
    _plant(CONNECTION, "alnum", lambda s: str({"auth_username": s, "auth_method": "CHAP"}))
    _plant(CONNECTION, "alnum", lambda s: str({"auth_method": "CHAP", "auth_username": s}))
    _plant(CONNECTION, "uuid", lambda s: {"secret_type": "ceph", "secret_uuid": s}, "value")
    _plant(
        CONNECTION,
        "ceph",
        lambda s: {"name": "rbd/v", "keyring": f"[client.a]\nkey = {s}"},
        "value",
    )
    _plant(CONNECTION, "ceph", lambda s: f"[client.cinder]\n\tkey = {s}\n\tcaps mon = allow r")
    _plant(CONNECTION, "ceph", lambda s: f"rbd key is {s}")
    _plant(CONNECTION, "dhchap", lambda s: {"nqn": "nqn.2014", "dhchap_key": s}, "value")
    _plant(CONNECTION, "dhchap", lambda s: f"nvme connect -t tcp -n nqn.2014 -S {s}")
    _plant(CONNECTION, "alnum", lambda s: f"provider_auth: CHAP cinderuser {s}")
    _plant(CONNECTION, "alnum", lambda s: str({"id": 7, "provider_auth": f"CHAP cinderuser {s}"}))
    _plant(CONNECTION, "words", lambda s: {"connection_info": {"data": {"note": s}}}, "value")
    _plant(
        CONNECTION, "words", lambda s: f"connection_info={ {'data': {'note': s, 'lun': [1]}} } done"
    )
    _plant(CONNECTION, "words", lambda s: f"connection_info={ {'data': [{'note': 1}, s]} }"[:-4])
    _plant(
        CONNECTION, "alnum", lambda s: {"options": f"username=cinder,password={s},vers=3"}, "value"
    )
    _plant(
        CONNECTION, "hex", lambda s: {"volume_admin_metadata": [{"key": "k", "value": s}]}, "value"
    )


def _exceptions() -> None:
    """Errors of drivers, mostly with the answer of an array or a program."""
    _plant(
        EXCEPTION,
        "alnum",
        lambda s: f"<request><user>admin</user><password>{s}</password></request>",
    )
    _plant(EXCEPTION, "words", lambda s: f"<ns1:Password xsi:type='xsd:string'>{s}</ns1:Password>")
    _plant(EXCEPTION, "quotes", lambda s: f"<password><![CDATA[{s}]]></password>")
    _plant(EXCEPTION, "alnum", lambda s: f"&lt;chapSecret&gt;{s}&lt;/chapSecret&gt;")
    _plant(EXCEPTION, "words", lambda s: f"<property name='password'>{s}</property>")
    _plant(EXCEPTION, "symbols", lambda s: f'<account user="admin" passwd="{html.escape(s)}"/>')
    _plant(EXCEPTION, "words", lambda s: json.dumps(json.dumps({"adminPass": s})))
    _plant(
        EXCEPTION,
        "quotes",
        lambda s: json.dumps(json.dumps(json.dumps({"sanPassword": s, "n": 1}))),
    )
    _plant(
        EXCEPTION,
        "quotes",
        lambda s: f"Bad response: { ({'username': 'a', 'password': s, 'lun': 3}) }",
    )
    _plant(EXCEPTION, "alnum", lambda s: f"Cannot reach https://admin:{s}@10.0.0.5:8443/api/v2")
    _plant(
        EXCEPTION, "base64", lambda s: f"HTTPSConnectionPool: https://admin:{s}/=@array.example/api"
    )
    _plant(EXCEPTION, "alnum", lambda s: f"nfs://admin:{s[:9]}/{s[9:]}@x@array/share is stale")
    _plant(EXCEPTION, "hex", lambda s: f"409: {{'iBaseToken': '{s}', 'deviceid': '21'}}")
    _plant(EXCEPTION, "hex", lambda s: f"Logged in, session_id={s}; expires in 900 s")
    _plant(EXCEPTION, "hex", lambda s: f"404 for https://array/api/login?user=a&token={s}&v=2")
    _plant(EXCEPTION, "alnum", lambda s: f"SSH to admin:{s}@10.20.30.40 failed: timed out")
    _plant(
        EXCEPTION, "alnum", lambda s: f"paramiko: authentication failed, password='{s}', port=22"
    )
    _plant(EXCEPTION, "words", lambda s: f'Login as admin using password "{s}" was refused')
    _plant(EXCEPTION, "words", lambda s: f"The password is '{s}', which is too weak.")
    _plant(
        EXCEPTION, "alnum", lambda s: f"node.session.auth.password = {s}\nnode.session.timeo = 120"
    )
    _plant(EXCEPTION, "alnum", lambda s: f"iscsiadm: node.session.auth.password_in = {s}")
    _plant(EXCEPTION, "pem", lambda s: f"Not a key: {s} (line 3)")
    _plant(EXCEPTION, "pem", lambda s: f"Invalid key {s!r}")
    _plant(EXCEPTION, "hex", lambda s: f"GET /v3/auth/tokens/{s} was answered with 404")
    _plant(
        EXCEPTION,
        "alnum",
        lambda s: f"send: b'POST /login HTTP/1.1\\r\\nHost: a\\r\\nX-API-Key: {s}\\r\\n\\r\\n'",
    )
    _plant(EXCEPTION, "foreign", lambda s: f"Zugang verweigert: Password={s} (Fehler 5)")
    _plant(EXCEPTION, "alnum", lambda s: RuntimeError(f"api_key={s}"), "value")
    _plant(EXCEPTION, "alnum", lambda s: {"error": ValueError(f"password: {s}")}, "value")
    _plant(EXCEPTION, "alnum", lambda s: f"(1045) SQL: CREATE USER 'c'@'%' IDENTIFIED BY '{s}'")
    _plant(EXCEPTION, "alnum", lambda s: f"smb://storage;admin:{s}@filer/share: no such share")


def _images() -> None:
    """Properties of images in Glance, also those that a tenant wrote."""
    _plant(IMAGE, "alnum", lambda s: str({"properties": {"os_admin_password": s, "arch": "x"}}))
    _plant(IMAGE, "words", lambda s: {"glance_metadata": {"remark": s}}, "value")
    _plant(
        IMAGE, "words", lambda s: {"volume_glance_metadata": [{"key": "a", "value": s}]}, "value"
    )
    _plant(IMAGE, "words", lambda s: {"image_meta": {"properties": {"remark": s}}}, "value")
    _plant(IMAGE, "uuid", lambda s: str({"cinder_encryption_key_id": s, "min_disk": 0}))
    _plant(
        IMAGE,
        "symbols",
        lambda s: f"locations: swift+https://acc%3Ausr:{s}@keystone/v3/img".replace("@:!@", "%40@"),
    )
    _plant(IMAGE, "alnum", lambda s: json.dumps([{"name": "password", "value": s}]))
    _plant(IMAGE, "words", lambda s: {"tags": [{"name": "adminPass", "value": s}]}, "value")


def _configured() -> None:
    """Values of cinder.conf, quoted without their names, in one of their forms."""
    said = (
        ("symbols", lambda s: f"login failed for admin/{s}"),
        ("alnum", lambda s: f"5: {s}: no such account"),
        ("words", lambda s: f"bad credentials ({s})"),
        ("symbols", lambda s: f"GET /login?u=admin&p={quote(s, safe='')} failed"),
        ("quotes", lambda s: f"body was {json.dumps({'p': s})}"),
        ("quotes", lambda s: f"arguments were {['admin', s]!r}"),
        ("quotes", lambda s: f"<p>{html.escape(s)}</p> was refused"),
        ("alnum", lambda s: f"sent {_encoded(f'admin:{s}')} to the array"),
        ("symbols", lambda s: f"sent {_encoded(f'{s}')} to the array"),
        ("symbols", lambda s: f"sent {_encoded(f'root:{s}:2')} to the array"),
        ("foreign", lambda s: f"Zugang fuer {s} verweigert"),
        ("foreign", lambda s: f"Zugang fuer {json.dumps(s)} verweigert"),
        ("fernet", lambda s: s),
        ("uuid", lambda s: {"volume": [1, {"remark": f"<{s}>"}]}),
    )
    for kind, form in said:
        _plant(CONFIGURED, kind, form, "literal")


def _commands() -> None:
    """Commands, as a shell or a list has them."""
    _plant(COMMAND, "alnum", lambda s: f"openstack --os-password {s} volume list")
    _plant(COMMAND, "symbols", lambda s: f"openstack --os-password={shlex.quote(s)} volume list")
    _plant(COMMAND, "quotes", lambda s: f"tool --password {shlex.quote(s)} --lun 3")
    _plant(COMMAND, "alnum", lambda s: f"sshpass -p {s} ssh admin@array lsvdisk")
    _plant(COMMAND, "words", lambda s: f"sshpass -p '{s}' ssh admin@array lsvdisk")
    _plant(COMMAND, "alnum", lambda s: f"sshpass -p{s} ssh admin@array lsvdisk")
    _plant(
        COMMAND,
        "alnum",
        lambda s: f"iscsiadm -m node --op update -n node.session.auth.password -v {s}",
    )
    _plant(
        COMMAND,
        "words",
        lambda s: str(["iscsiadm", "-n", "node.session.auth.password", "-v", s, "-p", "10.0.0.1"]),
    )
    _plant(COMMAND, "alnum", lambda s: f"mysql -u root -p{s} -e 'SELECT 1'")
    _plant(COMMAND, "alnum", lambda s: f"mysqldump --user=root '-p{s}' cinder")
    _plant(COMMAND, "symbols", lambda s: f"curl -s -u admin:{s} https://array/api")
    _plant(COMMAND, "words", lambda s: f"curl --user 'admin:{s}' https://array/api")
    _plant(COMMAND, "words", lambda s: str(["curl", "-u", f"admin:{s}", "https://array/api"]))
    _plant(COMMAND, "jwt", lambda s: f"curl -H 'Authorization: Bearer {s}' https://array/api")
    _plant(COMMAND, "hex", lambda s: f'curl -g -i -X GET https://a/v3 -H "X-Auth-Token: {s}" -k')
    _plant(COMMAND, "alnum", lambda s: f"openssl enc -aes-256-cbc -d -k {s} -in volume.img")
    _plant(COMMAND, "alnum", lambda s: f"openssl rsa -in key.pem -passin pass:{s} -out plain.pem")
    _plant(
        COMMAND,
        "alnum",
        lambda s: f"qemu-img convert --object secret,id=sec0,format=raw,data={s} --image-opts a b",
    )
    _plant(
        COMMAND, "base64", lambda s: str(["qemu-img", "--object", f"secret,id=s,data={s}", "info"])
    )
    _plant(COMMAND, "words", lambda s: f"echo -n '{s}' | cryptsetup luksOpen /dev/sdb crypt")
    _plant(COMMAND, "alnum", lambda s: f"echo {s} | sudo -S lvs")
    _plant(
        COMMAND,
        "alnum",
        lambda s: f"cinder-rtstool create /dev/vg/v iqn.2010-10.org:v chapuser {s} -n 3260",
    )
    _plant(
        COMMAND,
        "alnum",
        lambda s: str(["cinder-rtstool", "create", "/dev/vg/v", "iqn.2010:v", "chapuser", s]),
    )
    _plant(
        COMMAND,
        "alnum",
        lambda s: f"cinder-rtstool add-initiator iqn.2010:v chapuser {s} iqn.1994:i",
    )
    _plant(
        COMMAND,
        "alnum",
        lambda s: str(
            ["cinder-rtstool", "add-initiator", "iqn.2010:v", "chapuser", s, "iqn.1994:i"]
        ),
    )
    _plant(
        COMMAND,
        "alnum",
        lambda s: f"scstadmin -set_tgt_attr iqn -driver iscsi -attributes 'IncomingUser= chap {s}'",
    )
    _plant(COMMAND, "alnum", lambda s: str(["scstadmin", "-attributes", f"IncomingUser= chap {s}"]))
    _plant(COMMAND, "hex", lambda s: f"curl -H 'Authorization: Session {s}' https://array/api")
    _plant(
        COMMAND,
        "alnum",
        lambda s: f"mount -t cifs //filer/share /mnt -o username=c,pass={s},vers=3",
    )
    _plant(
        COMMAND, "alnum", lambda s: f"ipmitool -I lanplus -H 10.0.0.9 -U admin -P {s} power status"
    )
    _plant(COMMAND, "alnum", lambda s: f"tgtadm --op new --mode account --user c --password {s}")
    _plant(COMMAND, "alnum", lambda s: f"OS_PASSWORD={s} OS_USERNAME=admin cinder list")
    _plant(COMMAND, "symbols", lambda s: ["tool", "--password", s, "--lun", 3], "value")
    _plant(COMMAND, "words", lambda s: ["iscsiadm", "-n", "node.auth.password", "-v", s], "value")
    _plant(COMMAND, "symbols", lambda s: f"smbclient //filer/share -U 'admin%{s}' -c ls")


def _logs() -> None:
    """Log lines at DEBUG."""
    _plant(LOG, "alnum", lambda s: f"san_password                   = {s}")
    _plant(LOG, "symbols", lambda s: f"transport_url = rabbit://openstack:{quote(s)}@rabbit:5672/")
    _plant(LOG, "alnum", lambda s: f"rabbit://a:x{s}@one:5672,b:{s}@two:5672//cinder is used")
    _plant(
        LOG, "alnum", lambda s: f"connection = mysql+pymysql://cinder:{s}@db/cinder?charset=utf8"
    )
    _plant(LOG, "words", lambda s: f"Setting chap_secret to value: secret='{s}'")
    _plant(LOG, "hex", lambda s: f"fixed_key={s}")
    _plant(LOG, "alnum", lambda s: f"|  adminPass   | {s}   |")
    _plant(LOG, "alnum", lambda s: f"{{'private_key': '{s}', 'public': 'ssh-rsa'}}")
    _plant(
        LOG,
        "words",
        lambda s: f"{{'replication_device': {{'san_password': '{s}', 'backend_id': 'b'}}}}",
    )
    _plant(LOG, "alnum", lambda s: f"got X-Storage-Token => {s} from the proxy")
    _plant(LOG, "alnum", lambda s: f"Credentials({{'access': 'c', 'access_key': u'{s}'}})")
    _plant(LOG, "hex", lambda s: f"hmac_keys:{s}")
    _plant(
        LOG, "alnum", lambda s: f"root:$6$salt${s * 3}:19000:0:99999".replace(s * 3, s + s[::-1])
    )
    _plant(LOG, "jwt", lambda s: f"lightos says {s}")
    _plant(
        LOG,
        "alnum",
        lambda s: (
            f"content: \n  <target iqn>\n    incominguser chap {s}\n    bsoflags x\n  </target>"
        ),
    )
    _plant(LOG, "alnum", lambda s: f"    outgoinguser chap {s}\n    write-cache on\n")
    _plant(LOG, "alnum", lambda s: f'Auth_CHAP_Policy=Oneway\n  Auth_CHAP_Initiator="chap":"{s}"\n')
    _plant(LOG, "alnum", lambda s: f"Setting chap creds to chapuser : {s}")
    _plant(LOG, "alnum", lambda s: f"_define_host_according_to_chap: node-1 : {s}")
    _plant(
        LOG, "uuid", lambda s: f"Disconnect from 3PAR REST with session key 0-{s} using thread 7"
    )
    _plant(LOG, "hex", lambda s: f"Created new session {s} for thread 140")
    _plant(LOG, "hex", lambda s: f"Logged in to array A at https://10.0.0.9/api (session {s})")
    _plant(LOG, "base64", lambda s: f"s3: aws_secret_access_key={s}")


def _logins() -> None:
    """Logins and sessions in URLs, as drivers ask for them and libraries tell of it."""
    _plant(LOGIN, "hex", lambda s: f"Max retries exceeded with url: /api/login/{s} (Caused by x)")
    _plant(LOGIN, "alnum", lambda s: f"GET https://array/api/login/admin/{s} gave 401")
    _plant(LOGIN, "hex", lambda s: f"DELETE https://array/api/v1/sessions/{s} was refused")
    _plant(LOGIN, "alnum", lambda s: f"404 for /webapi/auth.cgi?account=admin&sid={s}&v=3")
    _plant(
        LOGIN, "symbols", lambda s: f"GET https://array/login?u=admin&p={quote(s, safe='')} failed"
    )
    _plant(LOGIN, "alnum", lambda s: f"redirected to https://array/cb#access_token={s}&state=1")
    _plant(LOGIN, "alnum", lambda s: f"https://portal/reset/{s} has expired")
    _plant(LOGIN, "base64", lambda s: f"https://b.example/k?sv=2026&sig={quote(s, safe='')}")
    _plant(LOGIN, "alnum", lambda s: f"mongodb://u:{s}@m1:27017,m2:27017/x?replicaSet=r")
    _plant(LOGIN, "alnum", lambda s: f"rabbit://a:x/{s}@one:5672,b:y/{s}@two:5672//")
    _plant(LOGIN, "alnum", lambda s: f"refused: //svc:{s}@filer/share")
    # Where somebody has cut the text.
    _plant(LOGIN, "alnum", lambda s: f"cannot reach https://kadmin:K{s}")
    _plant(LOGIN, "alnum", lambda s: f"cannot reach https://kadmin:K{s[:12]}... (truncated)"[:-12])
    _plant(LOGIN, "fernet", lambda s: f"got {s[:100]}...")
    _plant(LOGIN, "jwt", lambda s: f"got {s[:60]}…")
    _plant(LOGIN, "ceph", lambda s: f"key is {s[:30]}")
    _plant(LOGIN, "alnum", lambda s: f"{{'user': 'a', 'password': '{s}")


def _spoken() -> None:
    """Secrets in prose, where nothing marks their end."""
    for sentence in (
        "login was refused, the password is {}",
        "setting the password for user rdxadmin to {} failed",
        "credentials admin:{} were rejected",
        "API key is {}",
        "invalid access token {}",
        "one-time password {} was used twice",
        "CHAP secret {} is too short",
        "community string {} is not accepted",
        "wrong password: {}",
        'root pw "{}" was refused',
        "authentication failed for admin/{}",
    ):
        _plant(SPOKEN, "alnum", sentence.format)
    for sentence in (
        "password {} was refused",
        "Wrong passphrase {}",
        "password = {}",
        "secret: {}",
        'CMD "x password {}"',
    ):
        _plant(SPOKEN, "words", sentence.format)
    _plant(SPOKEN, "alnum", lambda s: f"password={s}: '{s}' is not allowed, {s} is too long")
    _plant(SPOKEN, "alnum", lambda s: f"| user | password |\n| admin | {s} |")
    _plant(SPOKEN, "words", lambda s: f"password: |\n  {s}\nuser: admin")
    _plant(SPOKEN, "alnum", lambda s: f"PASSWORD('{s}')")
    _plant(SPOKEN, "alnum", lambda s: f"HTTPBasicAuth('admin', '{s}')")
    _plant(SPOKEN, "symbols", lambda s: f"Password := {s}")
    _plant(SPOKEN, "alnum", lambda s: f"tool -p {s}9aB --lun 3")


def _foreign() -> None:
    """Names in other languages, as arrays have them that were not made for English speakers."""
    for line in (
        "登录失败，密码：{}",
        "用户admin的密码为{}，已过期",
        "口令={}",
        "访问密钥：{}",
        "令牌“{}”无效",
        "旧密码{}，新密码不能为空",
        "パスワード「{}」が違います",
        "비밀번호: {}",
        "пароль: {}",
        "Неверный пароль {} для admin",
        "Kennwort: {}",
        "Passwort {} ist falsch",
        "mot de passe : {}",
        "contraseña={}",
        "senha {} inválida",
        "hasło={}",
    ):
        _plant(FOREIGN, "alnum", line.format)
    _plant(FOREIGN, "alnum", lambda s: json.dumps({"密码": s, "大小": 1}))
    _plant(FOREIGN, "alnum", lambda s: f"body: {f'密码={s}'.encode()!r}")
    _plant(FOREIGN, "alnum", lambda s: {"密码": s, "大小": 1}, "value")
    _plant(FOREIGN, "words", lambda s: f"ｐａｓｓｗｏｒｄ：“{s}”")


def _learned() -> None:
    """Values of cinder.conf that nothing else gives away."""
    _plant(CONFIGURED, "words", lambda s: f"refused ({s})", "literal")
    _plant(CONFIGURED, "alnum", lambda s: f"8: {s}: no such account", "literal")
    _plant(CONFIGURED, "foreign", lambda s: f"abgelehnt: {s!r}", "literal")


for _section in (
    _headers,
    _bodies,
    _connections,
    _exceptions,
    _images,
    _configured,
    _commands,
    _logs,
    _logins,
    _spoken,
    _foreign,
    _learned,
):
    _section()


HARMLESS = (
    "No valid backend was found: No weighed backends available",
    "volume 3f2a7d0c-1111-4222-8333-444455556666 is in state error",
    "http://localhost:4318/v1/traces",
    "http://127.0.0.1:8776/v3/c1de/volumes/detail@2?limit=1",
    "size=1 host=node-1@lvm#pool",
    "req-7a7f1d5e-8a8e-4a52-9a6a-9a2f4f3f3c11",
    "The token bucket is empty; 3 tokens per second",
    "password must not be empty",
    "The password has expired.",
    "key_manager.backend = barbican",
    'Lock "key_manager" acquired by "otel.cinder" :: waited 0.001s',
    "/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-iqn.2010-10.org.openstack:volume-7-lun-1",
    "Using access denied (using password: YES)",
    "use_chap_auth = True",
    "password=None, token: null",
    "san_password = ****",
    "auth_strategy = keystone, auth_type is password",
    "KeyError: 'volume_id'",
    "routing_key=cinder-volume.node@lvm",
    "sort_key=created_at sort_dir=desc",
    "primary key of table volumes, chapter: 5",
    "Author: somebody, compass: north, bypass=1, signed off",
    "Running cmd (subprocess): lvcreate -T -V 1g -n volume-7 vg/pool",
    "mysql -h db -u cinder --port 3306 is unreachable",
    "LUN 3 at 10.0.0.1:3260, target iqn.1994-05.com.redhat:node",
    "<volume id='7'><name>data</name></volume>",
    "{'size': 1, 'status': 'available', 'multiattach': False}",
    "iscsiadm -m session -P 3 gives sessions of 2 targets, session 1 is gone",
    "Flow 'volume_create_api' (7) transitioned into state 'SUCCESS'",
    *"""
token expired
the token has expired at 2026-11-22T10:00:00Z
Token is not valid for project 3f2a7d0c111142228333444455556666
key not found: volume_type
KeyError: 'san_password'
password is incorrect
The password you entered is incorrect, 2 attempts left
Invalid username or password
invalid credentials for user admin on array-01
Authentication failed: check the username and password of backend lvmdriver-1
Unable to authenticate: the credentials were rejected by 10.0.0.5
Failed to refresh token: Connection refused
Failed to get a token from https://10.0.0.1:8443/api: timed out
No valid token was found in the cache
CHAP authentication is enabled for host node-1
chap credentials are not set for volume volume-3f2a7d0c-1111-4222-8333-444455556666
CHAP secret must be 12 to 16 characters long
Error extending the volume. The replication session 3f2a7d0c-1111-4222-8333-444455556666 must be paused
iSCSI session 12 to portal 10.0.0.1:3260,1 iqn.2010-10.org.openstack:volume-7 is gone
session was closed by the array
secret 3f2a7d0c-1111-4222-8333-444455556666 could not be found in the key manager
Encryption key 3f2a7d0c-1111-4222-8333-444455556666 was requested
Creating key with algorithm AES and length 256
passphrase is of type symmetric and will be used without conversion
The secret store is not available
Ceph keyring file /etc/ceph/ceph.client.cinder.keyring is missing
Cannot read RBD keyring file: /etc/ceph/ceph.client.cinder.keyring
password must be specified in cinder.conf under [backend-1]
san_ip, san_login and san_password must be set
san_login or san_password is not set, check the configuration
Option san_password is deprecated for removal
ldap bind password is required
token_cache_time = 300, token_type: Bearer
password_length=12 password_expires_days=90
auth_type = password, auth_url = http://10.0.0.1:5000/v3
encryption_key_id=None, multiattach=False
volume volume-7 (LUN 12, WWN 60:05:07:68:01:82:81:0a) on pool Pool0 has 100 GiB
naa.600601601290380036a00936cf13e711 is mapped to host esx-12
eui.00253852915001a8 on /dev/nvme0n1
wwpn 50:00:d3:10:00:ed:b2:3d of node0_fc1 is offline
iqn.1993-08.org.debian:01:604af6a341 logged in to nqn.2014-08.org.nvmexpress:uuid:3f2a7d0c-1111-4222-8333-444455556666
3PAR volume osv-j4P7kmNbRMGKEHPq9Iwmzg is exported as LUN 3
PowerFlex volume lRzQ0XuMQF6pvnHk4hYMhg== has no snapshot
checksum d41d8cd98f00b204e9800998ecf8427e does not match
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
GET http://10.0.0.1:8776/v3/3f2a7d0c111142228333444455556666/volumes/detail?limit=10&sort=created_at:desc
GET /v3/auth/tokens returned with HTTP 404
POST /redfish/v1/SessionService/Sessions
Caused by NewConnectionError: HTTPSConnectionPool(host='array-1', port=443): Max retries exceeded with url: /api/v1/volumes
https://array-1.example.com:8443/api/instances/volume/42
ssh: connect to host 10.0.0.5 port 22: Connection timed out
Running command: iscsiadm -m node -T iqn.2010-10.org.openstack:volume-7 -p 10.0.0.1:3260 --rescan
Running cmd (subprocess): sudo cinder-rootwrap /etc/cinder/rootwrap.conf lvcreate -n volume-7 -L 1g vg-1
qemu-img convert -O raw -t none -f qcow2 /var/lib/cinder/conversion/tmp8x_2kd /dev/sdb
mount -t nfs -o vers=4.1,nconnect=4 10.0.0.1:/export/cinder /opt/stack/data/cinder/mnt/0c1f
Failed to run command: exit code 5, stderr: Volume group "vg-1" not found
host esx01@backend#pool7 was not found; node-1@lvm#pool is down
Lock "3f2a7d0c-1111-4222-8333-444455556666-attach_volume" acquired
Flow 'volume_create_manager' (3f2a7d0c-1111-4222-8333-444455556666) transitioned into state 'REVERTED'
cinder.volume.drivers.hpe.hpe_3par_common.HPE3PARCommon failed in _create_volume_from_snapshot
oslo_messaging.exceptions.MessagingTimeout: Timed out waiting for a reply to message ID 0a1b2c3d4e5f60718293a4b5c6d7e8f9
AMQP server on rabbit-1:5672 is unreachable: [Errno 111] ECONNREFUSED. Trying again in 1 seconds.
(pymysql.err.OperationalError) (2003, "Can't connect to MySQL server on 'db-1' ([Errno 111] Connection refused)")
Access denied for user 'cinder'@'10.0.0.4' (using password: YES)
compass bypass trespass passed 3 passes, passthrough of 2 PCI devices
monkey patching, keyboard, turkey, hotkey, primary key
author: Jane, authority: none, authentic
The volume type 'encrypted' has no extra spec 'key'
sort_key=created_at, sort_dir=desc, marker=3f2a7d0c-1111-4222-8333-444455556666
ssl certificate verify failed: unable to get local issuer certificate
license key feature is not enabled on array 000197900123
signature version 4 is not supported by this endpoint
pin the volume to tier 1, pinned: 3, spinning: no
密码错误
密码不正确，请重新输入
口令已过期，还剩3次机会
卷 3f2a7d0c-1111-4222-8333-444455556666 创建失败：没有可用的后端
令牌无效
пароль неверен
Passwort ist falsch
mot de passe incorrect
contraseña incorrecta
パスワードが違います
비밀번호가 틀렸습니다
""".strip().splitlines(),
    "",
)
"""Texts that must stay as readable as they are."""


def fragments(secret: str, length: int) -> set[str]:
    """All parts of so many characters of a secret: none of them may be seen."""
    size = min(length, len(secret))
    return {secret[at : at + size] for at in range(len(secret) - size + 1)}


def spellings(secret: str) -> set[str]:
    """List the forms in which a secret would still be one."""
    encoded = {
        _encoded(before + secret)[skip:-4] for before, skip in (("", 0), ("a", 2), ("ab", 3))
    }
    return {
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        *encoded,
    }


def survivors(planted: Iterable[Planted], found: str) -> set[Planted]:
    """Return the secrets of which at least half is in a text, in any form."""
    # Looked for by its first characters, so that one walk over a huge text is enough.
    wanted: dict[str, list[tuple[str, Planted]]] = {}
    for plant in planted:
        # However often it has been escaped, too.
        for spelling in {*spellings(plant.secret), plant.secret.replace("\\", "")}:
            for part in fragments(spelling, max(_WINDOW, len(spelling) // 2)):
                wanted.setdefault(part[:_WINDOW], []).append((part, plant))
    left = set()
    for text in {found, found.replace("\\", "")}:
        for at in range(len(text) - _WINDOW + 1):
            for part, plant in wanted.get(text[at : at + _WINDOW], ()):
                if text.startswith(part, at):
                    left.add(plant)
    return left


def survives(planted: Planted, found: str) -> bool:
    """True if at least half of a secret is in a text, in any form."""
    return bool(survivors([planted], found))
