"""S3 behind the stand-in (moto): it takes keys that the stand-in has handed out, until they end, and its own."""

import re
import threading
import time

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "lake"
OWN_KEY = "standin"
storage_keys = {}  # access key id: end


class Guarded:
    """S3 that takes only keys which were handed out and have not ended."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        key = re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        key = key.group(1) if key else ""
        if key != OWN_KEY and storage_keys.get(key, 0) < time.time():
            code = "ExpiredToken" if key in storage_keys else "InvalidAccessKeyId"
            token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN", "")
            body = f"<Error><Code>{code}</Code><Message>no</Message><Token-0>{token}</Token-0></Error>".encode()
            start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body]
        return self.app(environ, start_response)


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_):
        pass


def start_s3():
    app = Guarded(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


S3 = start_s3()
s3 = boto3.client("s3", endpoint_url=S3, region_name="us-east-1", aws_access_key_id=OWN_KEY,
                  aws_secret_access_key="standin")
s3.create_bucket(Bucket=BUCKET)


def remove_files(location):
    prefix = location.removeprefix(f"s3://{BUCKET}/").rstrip("/") + "/"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        for found in page.get("Contents", []):
            s3.delete_object(Bucket=BUCKET, Key=found["Key"])
