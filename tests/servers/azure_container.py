"""Creates a container in azurite: a PUT signed with the shared key that azurite documents for everybody."""

import base64
import email.utils
import hashlib
import hmac
import os
import sys
import urllib.parse
import urllib.request

url = sys.argv[1]
account = os.environ["AZURE_STORAGE_ACCOUNT_NAME"]
key = base64.b64decode(os.environ["AZURE_STORAGE_ACCOUNT_KEY"])
date = email.utils.formatdate(usegmt=True)
version = "2021-08-06"
path = urllib.parse.urlparse(url).path
kind = "application/octet-stream"
text = f"PUT\n\n\n\n\n{kind}\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n/{account}{path}\nrestype:container"
signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
request = urllib.request.Request(url + "?restype=container", method="PUT", data=b"")
request.add_header("x-ms-date", date)
request.add_header("x-ms-version", version)
request.add_header("Authorization", f"SharedKey {account}:{signature}")
request.add_header("Content-Type", kind)
urllib.request.urlopen(request)
