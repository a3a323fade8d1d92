"""Clients that ask one question after the other, and say exactly what became of each.

They never ask twice: whatever goes wrong is seen. Nothing but the standard library, so that no client of OpenAI's, which
would try again by itself, hides a failure.
"""

import dataclasses
import http.client
import json
import threading
import time

# Beyond it an answer counts as lost.
WITHIN_SECONDS = 300
# So that a check that has failed anyway does not fail a thousand times a second.
AFTER_A_FAILURE_SECONDS = 1
KINDS = {
    "whole": {"max_tokens": 12},
    "streamed": {"max_tokens": 24, "stream": True},
    "long": {"max_tokens": 200, "stream": True},
}


@dataclasses.dataclass
class Answer:
    """What a client got."""

    kind: str
    began: float
    ended: float = 0.0
    request: str = ""
    # The gateway's name, from the balancer, and the id of the node that began it.
    served_by: tuple = ()
    pieces: int = 0
    finish: str = ""
    is_done: bool = False
    failure: str = ""

    def is_complete(self):
        return self.is_done and bool(self.finish) and not self.failure


class Traffic:
    """So many clients of each kind, until it ends."""

    def __init__(self, address, key, model, clients):
        self.address, self.key, self.model = address, key, model
        self.answers, self.running = [], []
        self.over, self.lock = threading.Event(), threading.Lock()
        kinds = [kind for kind, count in clients.items() for _ in range(count)]
        self.threads = [threading.Thread(target=self._client, args=(kind,), daemon=True) for kind in kinds]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, failure, *_):
        self.over.set()
        # A check that has failed waits for nobody.
        for thread in self.threads if failure is None else ():
            thread.join()

    def begun_streams(self, server):
        """Long answers of which something has come, and which this gateway or node is giving."""
        with self.lock:
            long = [answer for answer in self.running if answer.kind == "long" and answer.pieces > 1]
            return [answer for answer in long if server in answer.served_by]

    def is_served_by(self, server, since):
        """True when a gateway or node has given an answer that began later."""
        with self.lock:
            return any(server in answer.served_by and answer.began > since for answer in self.answers)

    def _client(self, kind):
        connection = http.client.HTTPConnection(self.address, timeout=WITHIN_SECONDS)
        while not self.over.is_set():
            answer = Answer(kind, time.monotonic())
            with self.lock:
                self.running.append(answer)
            try:
                self._ask(connection, answer)
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                answer.failure = f"{type(error).__name__}: {error}"
                connection.close()
            answer.ended = time.monotonic()
            with self.lock:
                self.running.remove(answer)
                self.answers.append(answer)
            if not answer.is_complete():
                self.over.wait(AFTER_A_FAILURE_SECONDS)
        connection.close()

    def _ask(self, connection, answer):
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": "Tell me a long story about a river and the sea."}],
            **KINDS[answer.kind],
        }
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        answer.request = response.headers.get("x-request-id", "")
        answer.served_by = (response.headers.get("x-served-by"), response.headers.get("x-commonwatt-node"))
        if response.status != 200:
            answer.failure = f"{response.status} {response.read().decode(errors='replace')}"
        elif body.get("stream"):
            self._read_stream(response, answer)
        else:
            answer.finish = json.loads(response.read())["choices"][0]["finish_reason"]
            answer.is_done = True

    def _read_stream(self, response, answer):
        for line in response:
            name, _, data = line.decode().strip().partition(": ")
            if name != "data":
                continue
            if data == "[DONE]":
                answer.is_done = True
                continue
            piece = json.loads(data)
            if "error" in piece:
                answer.failure = data
                continue
            answer.pieces += 1
            for choice in piece["choices"]:
                answer.finish = choice.get("finish_reason") or answer.finish
        if not answer.is_complete():
            answer.failure = answer.failure or f"the stream broke off after {answer.pieces} pieces"
