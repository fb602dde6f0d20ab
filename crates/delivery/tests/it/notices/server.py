"""A mail server for the tests: aiosmtpd, telling in JSON lines what it takes.

What it does to a message is said by the recipient's name, as the handler below reads.
"""

import asyncio
import base64
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        name = address.split("@")[0]
        answers = {
            "nobody": "550 5.1.1 <%s>: no such user" % address,
            "unwanted": "550 5.7.1 <%s>: not from you" % address,
            "busy": "451 4.7.1 <%s>: try later" % address,
        }
        if name in answers:
            return answers[name]
        if name == "silent-early":
            await asyncio.Event().wait()
        if name == "broken-early":
            server.transport.abort()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        name = envelope.rcpt_tos[0].split("@")[0]
        if name == "spam":
            return "554 5.6.0 no"
        if name == "full":
            return "452 4.3.1 later"
        if name == "silent":
            await asyncio.Event().wait()
        if name == "broken":
            server.transport.abort()
        tell(
            event="message",
            mail_from=envelope.mail_from,
            rcpt_to=envelope.rcpt_tos,
            tls=server.transport.get_extra_info("ssl_object") is not None,
            user=session.auth_data,
            hello=session.host_name,
            data=base64.b64encode(envelope.content).decode(),
        )
        return "250 2.0.0 queued as 7A1B"


def tell(**event):
    print(json.dumps(event), flush=True)


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == b"wellspring" and data.password == b"correct horse"
    return AuthResult(success=good, handled=False, auth_data=data.login.decode() if good else None)


async def main(security, certificate, key):
    context = None
    if security != "plain":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    starttls = security == "starttls"

    def factory():
        return SMTP(
            Handler(),
            enable_SMTPUTF8=True,
            hostname="mail.test",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            authenticator=authenticate if security != "plain" else None,
            auth_required=security != "plain",
            auth_require_tls=starttls,
        )

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        factory, "127.0.0.1", 0, ssl=context if security == "tls" else None
    )
    tell(event="listening", port=listener.sockets[0].getsockname()[1])
    # The test holds the other end, so that the server never outlives it.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main(*sys.argv[1:4]))
