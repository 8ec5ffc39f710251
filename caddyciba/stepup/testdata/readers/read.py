"""Reads bodies as programs in Python do: one JSON object a line on standard input,
with the media type and the body in base64, and one JSON array a line on standard
output: [place, value] for each value, or null if the body is refused."""

import base64
import email.parser
import email.policy
import hashlib
import json
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree
from xml.dom import minidom


def pairs_once(pairs):
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("twice")
    return dict(pairs)


class Number(str):
    pass


def walk(value, place, out):
    if isinstance(value, dict):
        for name, member in value.items():
            walk(member, place + [name], out)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            walk(item, place + [str(index)], out)
    elif isinstance(value, Number):
        out.append([place, "number " + value])
    elif isinstance(value, bool):
        out.append([place, "true" if value else "false"])
    elif value is None:
        out.append([place, "null"])
    else:
        out.append([place, "text " + value])


def read_json(body):
    value = json.loads(
        body.decode("utf-8"),
        parse_int=Number,
        parse_float=Number,
        parse_constant=lambda text: 1 / 0,
        object_pairs_hook=pairs_once,
    )
    out = []
    walk(value, [], out)
    return out


def read_form(body):
    pairs = urllib.parse.parse_qsl(
        body.decode("utf-8"), keep_blank_values=True, strict_parsing=True, errors="strict"
    )
    return [[[name], "text " + value] for name, value in pairs]


def read_multipart(media_type, body):
    head = ("Content-Type: " + media_type + "\r\n\r\n").encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    out = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if part.get_filename() is not None:
            out.append([[name], "file %d %s" % (len(content), hashlib.sha256(content).hexdigest())])
        else:
            out.append([[name], "text " + content.decode("utf-8")])
    return out


def local(name):
    return name.rsplit("}", 1)[-1]


def walk_tree(element, place, out):
    for name, value in element.attrib.items():
        if name.startswith("{"):
            name = " ".join(name[1:].rsplit("}", 1))
        out.append([place + ["@" + name], "text " + value])
    if len(element) == 0:
        out.append([place, "text " + (element.text or "")])
    seen = {}
    for child in element:
        name = local(child.tag)
        index = seen.get(name, 0)
        seen[name] = index + 1
        walk_tree(child, place + [name, str(index)], out)


def walk_dom(node, place, out):
    for attribute in node.attributes.values():
        if attribute.prefix == "xmlns" or attribute.name == "xmlns":
            continue
        space = attribute.namespaceURI
        name = (space + " " if space else "") + attribute.localName
        out.append([place + ["@" + name], "text " + attribute.value])
    children = [child for child in node.childNodes if child.nodeType == child.ELEMENT_NODE]
    if not children:
        # What a program reads that looks at the first node alone.
        first = node.firstChild
        out.append([place, "text " + (first.data if first is not None else "")])
    seen = {}
    for child in children:
        name = child.localName
        index = seen.get(name, 0)
        seen[name] = index + 1
        walk_dom(child, place + [name, str(index)], out)


def read_xml(body, dom):
    out = []
    if dom:
        root = minidom.parseString(body).documentElement
        walk_dom(root, [root.localName], out)
    else:
        root = ElementTree.fromstring(body)
        walk_tree(root, [local(root.tag)], out)
    return out


def read(request):
    body = base64.b64decode(request["body"])
    kind = request["type"]
    if kind == "application/json":
        return read_json(body)
    if kind.startswith("application/x-www-form-urlencoded"):
        return read_form(body)
    if kind.startswith("multipart/"):
        return read_multipart(kind, body)
    return read_xml(body, sys.argv[1:] == ["dom"])


for line in sys.stdin:
    try:
        answer = read(json.loads(line))
    except Exception:
        answer = None
    print(json.dumps(answer))
