//! The whole of it over a real database, with answers that the tests hold in their hands. Two `Idempotency` are two
//! gateways.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::ask::tests::ask;
use super::claims::tests::{account, pass};
use super::*;

const EVENT: &str = "data: {\"text\":\"one\"}\n\n";
const DONE: &str = "data: [DONE]\n\n";

type Answer = BoxFuture<'static, Result<Response, Failure>>;

/// A node that answers with what is sent to it, and counts how often it is asked.
#[derive(Clone, Default)]
struct Node(Arc<AtomicUsize>);

impl Node {
    fn streams(&self) -> (mpsc::UnboundedSender<&'static str>, impl FnOnce(Uuid) -> Answer + use<>) {
        let (send, receive) = mpsc::unbounded_channel();
        let asked = Arc::clone(&self.0);
        let answer = async move {
            asked.fetch_add(1, Ordering::SeqCst);
            let events = futures_util::stream::unfold(receive, |mut receive| async move {
                receive.recv().await.map(|event| (Ok::<_, std::convert::Infallible>(event), receive))
            });
            let headers = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::SERVER, "node-1")];
            Ok((headers, Body::from_stream(events)).into_response())
        };
        (send, move |_| answer.boxed())
    }

    fn answers(&self, answer: Result<&'static str, ApiError>) -> impl FnOnce(Uuid) -> Answer + use<> {
        let asked = Arc::clone(&self.0);
        let answer = async move {
            asked.fetch_add(1, Ordering::SeqCst);
            Ok(([(header::CONTENT_TYPE, "application/json")], answer?).into_response())
        };
        move |_| answer.boxed()
    }

    fn asked(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn gateway(database: &PgPool) -> Idempotency {
    Idempotency::new(database.clone(), Uuid::now_v7(), CancellationToken::new())
}

/// Status, content type, the first one's header, whether it is a replay, and the body.
async fn read(response: Response) -> (StatusCode, String, bool, Bytes) {
    let (parts, body) = response.into_parts();
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let head = format!("{} {}", text("content-type"), text("server"));
    (parts.status, head, text("idempotent-replayed") == "true", body.collect().await.unwrap().to_bytes())
}

async fn first_piece(response: &mut Response) -> Bytes {
    response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn fifty_at_once_on_two_gateways_are_computed_once(database: PgPool) {
    let (account, node, gateways) =
        (account(&database).await, Node::default(), [gateway(&database), gateway(&database)]);
    let mut senders = Vec::new();
    let replies: Vec<_> = (0..50)
        .map(|at| {
            let (send, answer) = node.streams();
            senders.push(send);
            let (gateway, ask) = (gateways[at % 2].clone(), ask(account, "k", "{}"));
            tokio::spawn(async move { read(gateway.once(ask, answer, pending()).await.unwrap()).await })
        })
        .collect();
    for send in &senders {
        let _ = (send.send(EVENT), send.send(DONE));
    }
    drop(senders);
    let mut replayed = 0;
    for reply in replies {
        let (status, head, is_replay, body) = reply.await.unwrap();
        assert_eq!((status, head.as_str()), (StatusCode::OK, "text/event-stream; charset=utf-8 node-1"));
        assert_eq!(body, format!("{EVENT}{DONE}"));
        replayed += usize::from(is_replay);
    }
    assert_eq!((node.asked(), replayed), (1, 49));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn who_asks_during_a_stream_follows_it_and_the_first_may_leave(database: PgPool) {
    let (account, node, gateway) = (account(&database).await, Node::default(), gateway(&database));
    let (send, answer) = node.streams();
    send.send(EVENT).unwrap();
    let mut first = gateway.once(ask(account, "k", "{}"), answer, pending()).await.unwrap();
    assert_eq!(first_piece(&mut first).await, EVENT);
    let again = node.streams().1;
    let mut second = gateway.once(ask(account, "k", "{}"), again, pending()).await.unwrap();
    assert_eq!(first_piece(&mut second).await, EVENT, "the stream has not ended yet");
    drop((first, second));
    send.send(DONE).unwrap();
    drop(send);
    gateway.ended().await;
    let other = self::gateway(&database);
    let later = other.once(ask(account, "k", "{}"), node.answers(Ok("")), pending()).await.unwrap();
    let (_, _, is_replay, body) = read(later).await;
    assert_eq!((is_replay, body), (true, format!("{EVENT}{DONE}").into()));
    assert_eq!(node.asked(), 1);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_client_that_leaves_before_the_answer_begins_finds_it_later(database: PgPool) {
    let (account, node, gateway) = (account(&database).await, Node::default(), gateway(&database));
    let leaves = gateway.once(ask(account, "k", "{}"), node.answers(Ok("1")), pending()).now_or_never();
    assert!(leaves.is_none());
    gateway.ended().await;
    let later = gateway.once(ask(account, "k", "{}"), node.answers(Ok("2")), pending()).await.unwrap();
    let (_, _, is_replay, body) = read(later).await;
    assert_eq!((is_replay, body, node.asked()), (true, "1".into(), 1));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn who_waits_for_a_gateway_that_dies_computes_the_answer(database: PgPool) {
    let (account, node, gateway) = (account(&database).await, Node::default(), gateway(&database));
    let dead = ask(account, "k", "{}");
    assert!(Claims::new(database.clone(), Uuid::now_v7()).claim(&dead).await.unwrap().is_some());
    let (answers, first) = (node.answers(Ok("1")), dead.request);
    let compute = move |billed_as| {
        assert_eq!(billed_as, first, "in its name, since it may have been billed");
        answers(billed_as)
    };
    let (reply, ()) = tokio::join!(gateway.once(ask(account, "k", "{}"), compute, pending()), pass(&database, 11));
    let (_, _, is_replay, body) = read(reply.unwrap()).await;
    assert_eq!((is_replay, body, node.asked()), (false, "1".into(), 1));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_whole_answer_is_kept_for_the_same_request_alone(database: PgPool) {
    let (mine, node, gateway) = (account(&database).await, Node::default(), gateway(&database));
    let theirs = account(&database).await;
    let once = |ask, answer| gateway.once(ask, node.answers(Ok(answer)), pending());
    let (status, head, is_replay, body) = read(once(ask(mine, "k", "{}"), "1").await.unwrap()).await;
    assert_eq!((status, head.as_str(), is_replay, body), (StatusCode::OK, "application/json ", false, "1".into()));
    let (status, head, is_replay, body) = read(once(ask(mine, "k", "{}"), "2").await.unwrap()).await;
    assert_eq!((status, head.as_str(), is_replay, body), (StatusCode::OK, "application/json ", true, "1".into()));
    let error = once(ask(mine, "k", "{ }"), "3").await.unwrap_err().0;
    assert_eq!((error.status, error.detail.code.as_deref()), (409, Some("idempotency_conflict")));
    assert_eq!(read(once(ask(theirs, "k", "{}"), "4").await.unwrap()).await.3, "4");
    assert_eq!(node.asked(), 2);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_failure_is_told_to_all_who_wait_and_the_next_try_runs_anew(database: PgPool) {
    let (account, node, gateway) = (account(&database).await, Node::default(), gateway(&database));
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let fails = node.answers(Err(ApiError::overloaded("busy", 1)));
    let waits = |id| async move {
        told.await.unwrap();
        fails(id).await
    };
    let first = gateway.once(ask(account, "k", "{}"), waits, pending());
    let second = gateway.once(ask(account, "k", "{}"), node.answers(Ok("never")), pending());
    let (first, second, ()) = tokio::join!(first, second, async { tell.send(()).unwrap() });
    assert_eq!(first.unwrap_err().0.detail.message, "busy");
    assert_eq!(second.unwrap_err().0.detail.message, "busy");
    let anew = gateway.once(ask(account, "k", "{ }"), node.answers(Ok("anew")), pending()).await.unwrap();
    assert_eq!(read(anew).await.3, "anew");
    assert_eq!(node.asked(), 2);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_stream_without_its_end_mark_frees_the_key(database: PgPool) {
    let (account, node, gateway) = (account(&database).await, Node::default(), gateway(&database));
    let (send, answer) = node.streams();
    send.send("data: {\"error\":{}}\n\n").unwrap();
    drop(send);
    let broken = gateway.once(ask(account, "k", "{}"), answer, pending()).await.unwrap();
    assert_eq!(read(broken).await.3, "data: {\"error\":{}}\n\n");
    let anew = gateway.once(ask(account, "k", "{}"), node.answers(Ok("anew")), pending()).await.unwrap();
    let (_, _, is_replay, body) = read(anew).await;
    assert_eq!((is_replay, body), (false, "anew".into()));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn an_answer_too_long_goes_to_its_first_reader_alone(database: PgPool) {
    let (account, node, gateway) = (account(&database).await, Node::default(), gateway(&database));
    let megabyte: &'static str = String::leak("x".repeat(1024 * 1024));
    let (send, answer) = node.streams();
    for _ in 0..9 {
        send.send(megabyte).unwrap();
    }
    send.send(DONE).unwrap();
    drop(send);
    let first = gateway.once(ask(account, "k", "{}"), answer, pending()).await.unwrap();
    let (_, _, is_replay, body) = read(first).await;
    assert_eq!((is_replay, body.len()), (false, 9 * megabyte.len() + DONE.len()));
    assert!(body.ends_with(DONE.as_bytes()));
    let again = gateway.once(ask(account, "k", "{}"), node.answers(Ok("")), pending()).await.unwrap_err();
    assert_eq!(again.0.detail.code.as_deref(), Some("idempotency_answer_too_long"));
    assert_eq!(node.asked(), 1);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn an_answer_too_long_ends_when_its_only_reader_leaves(database: PgPool) {
    let (account, node, gateway) = (account(&database).await, Node::default(), gateway(&database));
    let megabyte: &'static str = String::leak("x".repeat(1024 * 1024));
    let (send, answer) = node.streams();
    for _ in 0..16 {
        send.send(megabyte).unwrap();
    }
    drop(gateway.once(ask(account, "k", "{}"), answer, pending()).await.unwrap());
    gateway.ended().await;
    assert!(send.is_closed(), "the node goes on computing for nobody");
    let anew = gateway.once(ask(account, "k", "{}"), node.answers(Ok("anew")), pending()).await.unwrap();
    assert_eq!(read(anew).await.3, "anew");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn nothing_runs_without_the_protection_that_was_asked_for(database: PgPool) {
    let (account, node, gateway) = (account(&database).await, Node::default(), gateway(&database));
    database.close().await;
    let refused = gateway.once(ask(account, "k", "{}"), node.answers(Ok("")), pending()).await.unwrap_err();
    assert_eq!((refused.0.status, node.asked()), (503, 0));
    gateway.ended().await;
    assert!(gateway.running.recordings().is_empty());
}
