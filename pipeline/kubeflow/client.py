# SPDX-License-Identifier: Apache-2.0
"""A connection to Kubeflow Pipelines by its own client, with errors that say what to do."""

import json
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import kfp
import kfp_server_api
import urllib3
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

from beam_jobs.errors import UserError
from beam_jobs.paths import check_file

ANSWER_WITHIN_S = 60.0
"""For a whole answer. A timeout of a socket is for each piece of it, and a server that drips keeps it for ever."""
REQUEST_TIMEOUT_S = 30
"""For each piece of an answer, so that the thread that waits for one comes to its end."""
NAMESPACE = "kubeflow"
_WHO = "pass --token-file or KF_PIPELINES_COOKIES of a user with access, and the --namespace of that user's profile"
_FORWARD = "is `kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80` running?"


class NoAnswer(urllib3.exceptions.HTTPError):
    """The server says nothing in time, or nothing that Kubeflow Pipelines would say."""


class OtherAnswer(NoAnswer):
    """Something answers, such as a page to log in, but not as Kubeflow Pipelines does."""


class _InTime(kfp_server_api.rest.RESTClientObject):
    """The client's own requests, each answered in time and with a JSON object or another text, or not at all."""

    def request(self, *arguments: Any, **options: Any) -> Any:
        """As the client has it.

        Raises:
            NoAnswer: there is none within `ANSWER_WITHIN_S`, or it is not one.
        """
        done: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

        def ask() -> None:
            try:
                done.put((super(_InTime, self).request(*arguments, **options), None))
            except BaseException as error:
                done.put((None, error))

        # Not one of a pool: those are waited for when the process ends.
        threading.Thread(target=ask, daemon=True).start()
        try:
            response, error = done.get(timeout=ANSWER_WITHIN_S)
        except Empty:
            raise NoAnswer(f"no response within {ANSWER_WITHIN_S:g} s") from None
        if isinstance(error, kfp_server_api.ApiException):
            # The client reads it as UTF-8, even where there is none.
            error.body = (error.body or b"").decode(errors="replace").encode()
        if error:
            raise error
        _check_content(response)
        _make_decodable(response)
        return response


def _check_content(response: Any) -> None:
    if "json" not in (response.getheader("content-type") or ""):
        return
    try:
        content = json.loads(response.data)
    except ValueError as error:
        raise NoAnswer("the response is cut off or not JSON") from error
    if not isinstance(content, dict):
        raise NoAnswer(f"the response is {json.dumps(content)[:40]}, which Kubeflow Pipelines never sends")


def _make_decodable(response: Any) -> None:
    """The client decodes strictly, but a log may hold any bytes."""
    charset = re.search(r"charset=([a-zA-Z\-\d]+)", response.getheader("content-type") or "")
    encoding = charset[1] if charset else "utf-8"
    try:
        response.data = response.data.decode(encoding, "replace").encode(encoding, "replace")
    except LookupError:
        raise NoAnswer(f"the response is encoded as {encoding}, which is unknown") from None


@dataclass(frozen=True, slots=True)
class Kubeflow:
    """One Kubeflow Pipelines, as one user sees it.

    `namespace` is that of the runs; `multi_user` says whether this Kubeflow keeps namespaces apart. `client` has a group of
    generated calls for each service of the API (`client.runs`, `client.pipelines`, …).
    """

    host: str
    namespace: str
    multi_user: bool
    client: Any
    token_file: Path | None = None

    @property
    def options(self) -> list[str]:
        """How a command line reaches the same Kubeflow as the same user; cookies are in the environment."""
        namespace = [] if self.namespace == NAMESPACE else ["--namespace", self.namespace]
        token = ["--token-file", str(self.token_file)] if self.token_file else []
        return ["--host", self.host, *namespace, *token]

    @property
    def user_namespace(self) -> str | None:
        """The namespace as the API takes it: none where there is a single user."""
        return self.namespace if self.multi_user else None


def connect(host: str, namespace: str = NAMESPACE, token_file: Path | None = None, cookies: str | None = None) -> Kubeflow:
    """Connects, and makes sure that Kubeflow answers.

    Args:
        host: address of Kubeflow Pipelines or of its UI; behind the gateway of a whole Kubeflow it ends in `/pipeline`.
        namespace: the namespace of the runs, in a Kubeflow with profiles that of the user.
        token_file: file with a bearer token; it is read for each request, because a cluster renews it.
        cookies: of a session in the browser, as the header `Cookie` has them.

    Raises:
        UserError: the file cannot be read, nothing answers there, or not Kubeflow Pipelines, or it wants to know who asks.
    """
    address = host.rstrip("/") if host.startswith(("http://", "https://")) else f"https://{host.rstrip('/')}"
    if token_file:
        try:
            check_file(token_file)
            token_file.read_bytes()
        except OSError as error:
            raise UserError(
                f"--token-file {token_file}: {error.strerror}; pass the file that holds a service account's token"
            ) from None
    credentials = ServiceAccountTokenVolumeCredentials(str(token_file)) if token_file else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Without a namespace, or with its default, the client asks for the health itself and hides a refusal for 25 s. Each
        # call here names its own.
        client = kfp.Client(host=address, namespace="-", credentials=credentials, cookies=cookies)
    generated = client.healthzs.api_client  # one for all of the API's services
    generated.rest_client = _InTime(generated.configuration)
    with user_errors(address):
        health = client.healthzs.healthz_service_get_healthz()
        if health.multi_user is None:
            raise OtherAnswer
    return Kubeflow(address, namespace, health.multi_user, client, token_file)


@contextmanager
def user_errors(where: str) -> Iterator[None]:
    """Turns what Kubeflow refuses into one line.

    Raises:
        UserError: begins with `where`, unless it is about who asks.
    """
    try:
        yield
    except OtherAnswer as error:
        raise UserError(f"{where}: answers, but not like Kubeflow Pipelines (is it a login page?); {_WHO}") from error
    except NoAnswer as error:
        raise UserError(f"{where}: {error}; {_FORWARD}") from error
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"{where}: not reachable ({type(reason).__name__}); {_FORWARD}") from error
    except kfp_server_api.ApiException as error:
        message = _message(error)
        if error.status in (401, 403):
            raise UserError(f"Kubeflow Pipelines denied the request ({error.status}: {message}); {_WHO}") from error
        raise UserError(f"{where}: Kubeflow answered {error.status}: {message}") from error


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later: no answer, too many requests, or a server or gateway that fails."""
    if isinstance(error, UserError):
        return error.__cause__ is not None and is_transient(error.__cause__)
    if isinstance(error, kfp_server_api.ApiException):
        return error.status == 429 or (error.status >= 500 and error.status != 501)
    return isinstance(error, urllib3.exceptions.HTTPError)


def is_gone(error: BaseException) -> bool:
    """Whether Kubeflow says that there is no such thing."""
    return isinstance(error.__cause__, kfp_server_api.ApiException) and error.__cause__.status == 404


def _message(error: kfp_server_api.ApiException) -> str:
    try:
        answer = json.loads(error.body)
        # The upload has an answer of its own, without `message`.
        text = answer.get("message") or answer["error_message"]
    except (ValueError, TypeError, AttributeError, KeyError):
        text = error.reason
    # What follows the first line is a stack trace.
    return str(text).strip().partition("\n")[0]
