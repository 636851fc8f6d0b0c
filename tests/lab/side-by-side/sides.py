"""The two services, and what they answer."""

import html
import http.client
import json
import os
import re
import time

FACTS = os.environ
JSON = {"Content-Type": "application/json"}


class Answer:
    """What came back: the status, the headers, and the body as JSON or as the text of an error."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.raw = body.decode("utf-8", "replace")
        try:
            self.body = json.loads(self.raw)
        except ValueError:
            self.body = self.page()

    def page(self):
        """An error's page as the JSON that it would be."""
        title = re.search(r"<title>(.*?)</title>", self.raw, re.S)
        text = re.search(r"<p>(.*?)</p>", self.raw, re.S)
        if not title:
            return None if not self.raw else {"page": self.raw}
        return {"error": html.unescape("%s: %s" % (title[1], text[1] if text else ""))}

    def word(self):
        """What a table shows of it."""
        body = self.body
        if isinstance(body, dict) and "error" in body:
            text = body["error"].split(": ", 1)[-1]
            return "%s %s" % (self.status, text if len(text) <= 70 else text[:67] + "...")
        if isinstance(body, dict) and "status" in body:
            return "%s %s" % (self.status, body["status"])
        if isinstance(body, dict):
            return "%s {%s}" % (self.status, ", ".join(sorted(body)))
        return "%s %s" % (self.status, "" if body is None else json.dumps(body))


class Side:
    """One of the two services, and the operations that it was asked for."""

    def __init__(self, name, address, headers):
        self.name = name
        self.address = address
        self.headers = headers
        self.ids = {}
        self.begun = 0

    def send(self, method, path, headers=(), body=None, known=True):
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        sent = dict(self.headers) if known else {}
        sent.update(headers)
        if body is not None or method in ("POST", "PUT", "PATCH"):
            sent["Content-Length"] = str(len(body or b""))
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        found = Answer(answer.status, answer.headers, answer.read())
        connection.close()
        return found

    def end(self, path):
        """The answer about an operation when it has ended, or the last one before patience does."""
        for _ in range(600):
            answer = self.send("GET", path)
            if answer.status != 200 or answer.body["status"] != "IN_PROGRESS":
                return answer
            time.sleep(0.1)
        return answer

    def fill(self, text):
        """A text with the ids and the folder of this side."""
        for name, number in self.ids.items():
            text = text.replace("{%s}" % name, number)
        return text.replace("{dir}", "%s/%s" % (FACTS["RESTORE_DIR"], self.name))


THEIRS = Side("theirs", FACTS["THEIRS"], {})
OURS = Side("ours", FACTS["OURS"], {"Authorization": "Bearer " + FACTS["TOKEN"]})
