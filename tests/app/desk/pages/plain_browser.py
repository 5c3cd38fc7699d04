"""A browser that runs no scripts, and the person at it."""

import re
from html.parser import HTMLParser

from sqlalchemy import select

from app.database import reading


class Fields(HTMLParser):
    """The fields of the form `work`, as a browser would send them."""

    def __init__(self, html: str):
        super().__init__()
        self.fields: dict[str, str] = {}
        self.area = None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "textarea":
            self.area, self.fields[given["name"]] = given["name"], ""
        box = given.get("type") in ("checkbox", "radio")
        if tag == "input" and "name" in given and (not box or "checked" in given):
            self.fields[given["name"]] = given.get("value", "on")

    def handle_data(self, data):
        if self.area:
            self.fields[self.area] += data.removeprefix("\n")

    def handle_endtag(self, tag):
        if tag == "textarea":
            self.area = None


class Browser:
    """A person with a browser that runs no scripts."""

    def __init__(self, client, people, account):
        self.client, self.people, self.account = client, people, account
        people.sign_in(client, account)

    def follow(self, reply):
        while reply.status_code == 303:
            reply = self.client.get(reply.headers["location"])
        self.reply, self.url = reply, reply.url.path
        self.html = reply.text
        return self

    def open(self, url):
        return self.follow(self.client.get(url))

    def next(self):
        return self.follow(self.client.post("/assignments/next", data=self.people.csrf(self.client)))

    def press(self, act="draft", headers=None, **changes):
        fields = {**Fields(self.html).fields, **changes}
        url = re.search(r'action="(/assignments/\w+)/draft"', self.html)[1]
        sent = {name: value for name, value in fields.items() if value is not None}
        self.raw = self.client.post(f"{url}/{act}", data=sent, headers=headers or {})
        return self.follow(self.raw)


def one(rows):
    with reading() as session:
        return session.scalars(select(rows)).one()
