"""SQL and outgoing HTTP as spans: SQLAlchemy and PyMySQL on a real MariaDB, and a whole create."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import oslo_messaging  # noqa: F401  what the seam waits for
import pymysql
import pytest
import sqlalchemy
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import Column, Integer, MetaData, String, Table

import otel_cinder
from otel_cinder.reading.trace import SpanRecord, Trace, traces_of
from otel_cinder.settings import Settings
from tests.integration.arrivals import settle
from tests.integration.configuration import SERVICES, Mode, Tracing
from tests.integration.database import Database
from tests.integration.stack import Answer, CinderStack
from tests.integration.whole_create import TREE, create_traces, draw
from tests.receiver import Receiver
from tests.unit.recording import Recorder

SECRET = "tenants-own"
ROWS = Table(
    "client_rows",
    MetaData(),
    Column("id", String(40), primary_key=True),
    Column("size", Integer),
)


@pytest.fixture(scope="module")
def engine(database: Database) -> Iterator[sqlalchemy.Engine]:
    """An engine that is older than the instrumentation, with no connection yet."""
    engine = sqlalchemy.create_engine(database.url("client_tests"))
    database.query("CREATE DATABASE client_tests")
    database.query("CREATE TABLE client_tests.client_rows (id VARCHAR(40) PRIMARY KEY, size INT)")
    yield engine
    engine.dispose()


@pytest.fixture
def spans(engine: sqlalchemy.Engine, database: Database) -> Iterator[Recorder]:
    """Instrumented, clients as well, and the table empty."""
    database.query("DELETE FROM client_tests.client_rows")
    engine.dispose()
    recorder = Recorder()
    otel_cinder.instrument(
        tracer_provider=recorder.provider, settings=Settings(clients=True, periodic=True)
    )
    with engine.connect():
        pass  # what SQLAlchemy asks of a new server
    yield recorder
    otel_cinder.uninstrument()
    assert pymysql.connect is pymysql.connections.Connection


def sql(spans: Recorder) -> list[tuple[str, dict[str, Any]]]:
    return [(s.name, dict(s.attributes or {})) for s in spans if s.kind is SpanKind.CLIENT]


def test_statement_is_a_span_without_its_values(
    spans: Recorder, engine: sqlalchemy.Engine, database: Database
) -> None:
    """A statement is a span as SQLAlchemy sends it, with the server and schema, and no value."""
    with spans.tracer.start_as_current_span("task"), engine.begin() as connection:
        connection.execute(ROWS.insert().values(id=SECRET, size=47114711))
        rows = connection.execute(ROWS.select().where(ROWS.c.id == SECRET)).all()
    assert rows == [(SECRET, 47114711)]
    inserted, selected = sql(spans)
    assert inserted == (
        "INSERT client_rows",
        {
            "db.system.name": "mysql",
            "db.namespace": "client_tests",
            "db.query.text": "INSERT INTO client_rows (id, size) VALUES (%(id)s, %(size)s)",
            "db.query.summary": "INSERT client_rows",
            "server.address": "127.0.0.1",
            "server.port": database.port,
        },
    )
    assert selected[0] == "SELECT client_rows"
    assert SECRET not in str(sql(spans))
    assert "47114711" not in str(sql(spans))


def test_many_rows_and_written_values(spans: Recorder, engine: sqlalchemy.Engine) -> None:
    """Neither executemany, which writes values into the statement, nor raw SQL shows a value."""
    rows = [{"id": f"{SECRET}-{i}", "size": 47114711} for i in range(3)]
    with spans.tracer.start_as_current_span("task"), engine.begin() as connection:
        connection.execute(ROWS.insert(), rows)
        connection.execute(
            sqlalchemy.text(f"update client_rows set size = 47124712 where id = '{SECRET}-1'")
        )
        assert connection.execute(ROWS.select()).rowcount == 3
    assert [name for name, _ in sql(spans)] == [
        "INSERT client_rows",
        "UPDATE client_rows",
        "SELECT client_rows",
    ]
    assert SECRET not in str(sql(spans))
    assert "47114711" not in str(sql(spans))
    assert "47124712" not in str(sql(spans))


def test_failing_statement(spans: Recorder, engine: sqlalchemy.Engine) -> None:
    """A failure is said by class and number; its message, which quotes values, only to Cinder."""
    insert = ROWS.insert().values(id=SECRET, size=1)
    with spans.tracer.start_as_current_span("task"):
        with engine.begin() as connection:
            connection.execute(insert)
        with (
            pytest.raises(sqlalchemy.exc.IntegrityError, match=SECRET),
            engine.begin() as connection,
        ):
            connection.execute(insert)
    *_, span = [span for span in spans if span.kind is SpanKind.CLIENT]
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "IntegrityError 1062"
    attributes = dict(span.attributes or {})
    assert attributes["error.type"] == "IntegrityError"
    assert attributes["db.response.status_code"] == "1062"
    assert SECRET not in str(attributes)
    assert not span.events


def test_statement_outside_of_a_trace_is_no_span(
    spans: Recorder, engine: sqlalchemy.Engine
) -> None:
    """Outside of a trace a statement is no span, periodic work or not."""
    with engine.begin() as connection:
        connection.execute(ROWS.select())
    assert not list(spans)


def test_pooled_connection_outlives_uninstrument(
    spans: Recorder, engine: sqlalchemy.Engine
) -> None:
    """A connection that was opened while traced works on afterwards, without spans."""
    with spans.tracer.start_as_current_span("task"):
        with engine.begin() as connection:
            connection.execute(ROWS.insert().values(id="a", size=1))
        otel_cinder.uninstrument()
        with engine.begin() as connection:
            assert connection.execute(ROWS.select()).all() == [("a", 1)]
    assert [name for name, _ in sql(spans)] == ["INSERT client_rows"]


# A whole create


@pytest.fixture(scope="module", params=["eventlet", "uwsgi"])
def stack(
    request: pytest.FixtureRequest, new_stack: Callable[[Mode], CinderStack], receiver: Receiver
) -> CinderStack:
    """Cinder in one of its ways, all of it traced, clients as well."""
    stack = new_stack(request.param)
    stack.start(Tracing(receiver.endpoint, env={"OTEL_CINDER_CLIENTS": "true"}))
    settle(receiver)
    return stack


@pytest.fixture(scope="module")
def answer(stack: CinderStack, receiver: Receiver) -> Answer:
    """One volume, and its trace in the receiver."""
    receiver.clear()
    (answer,) = stack.create()
    stack.wait_available([answer.volume_id])
    return answer


@pytest.fixture(scope="module")
def trace(answer: Answer, receiver: Receiver) -> Trace:
    """The trace of the create, the only one there is."""
    traces = traces_of(settle(receiver))
    (found,) = create_traces(receiver.spans())
    assert len(traces) == 1, [draw(trace) for trace in traces]
    return found


def statements(trace: Trace) -> list[SpanRecord]:
    return [span for span in trace.spans if "db.query.text" in span.attributes]


def test_statements_stand_below_the_tasks(trace: Trace) -> None:
    """Below the tasks of all three services are their statements, and the trace is whole."""
    assert trace.is_whole, draw(trace)
    asked = statements(trace)
    assert {span.service for span in asked} == set(SERVICES)
    assert {span.kind for span in asked} == {"client"}
    named = {span.span_id: span.name for span in trace.spans}
    above = {(named[span.parent_id], span.name) for span in asked}
    assert ("EntryCreateTask", "INSERT volumes") in above
    assert ("QuotaReserveTask", "INSERT reservations") in above
    assert ("CreateVolumeOnFinishTask", "UPDATE volumes") in above
    asked_ids = {span.span_id for span in asked}
    others = [span.name for _, span in trace.walk() if span.span_id not in asked_ids]
    left = iter(others)
    assert all(line.strip().partition(" (")[0] in left for line in TREE.splitlines()), others


def test_no_value_is_in_a_statement(trace: Trace, answer: Answer) -> None:
    """Neither the volume's id and name nor its project are in any span of a statement."""
    for span in statements(trace):
        attributes = str(span.attributes)
        for value in (answer.volume_id, "'tested'", "c1de000000000000", "__DEFAULT__"):
            assert value not in attributes
        assert len(str(span.attributes["db.query.text"])) <= 1024


def test_idle_cinder_asks_nothing_in_spans(stack: CinderStack, receiver: Receiver) -> None:
    """Heartbeats and periodic tasks write to the database all day, and that starts no span."""
    settle(receiver)
    receiver.clear()
    time.sleep(6)
    assert [(span.service, span.name) for span in receiver.spans()] == []
