//! An epoch is closed, and everybody can see what it brought them and recompute it.

use std::collections::HashMap;
use std::time::Duration;

use openapi::log::entry::{Entry, Kind};
use openapi::statement::{ClosedEpoch, Statement};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tests::{Database, Gateway, Node, conversation};

/// Waits until every answer so far has its receipt in the log.
async fn all_logged(gateway: &Gateway, answers: i64) {
    tests::eventually("the receipts", Duration::from_secs(40), || async {
        let logged = "select count(*) from log_leaves where kind = 'receipt'";
        let logged: i64 = sqlx::query_scalar(logged).fetch_one(&gateway.database.pool).await.unwrap();
        (logged == answers).then_some(())
    })
    .await;
}

async fn close(gateway: &Gateway) -> Response {
    gateway.client.post(gateway.url("/api/epochs")).bearer_auth(&gateway.management_key).send().await.unwrap()
}

async fn text(gateway: &Gateway, path: &str) -> String {
    let asked = gateway.client.get(gateway.url(path)).bearer_auth(&gateway.management_key).send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::OK, "{path}");
    asked.text().await.unwrap()
}

#[tokio::test]
async fn a_closed_epoch_tells_everybody_what_they_have_earned() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    for _ in 0..2 {
        gateway.chat(&conversation(json!({}))).await.text().await.unwrap();
    }
    all_logged(&gateway, 2).await;
    let closed = close(&gateway).await;
    assert_eq!(closed.status(), StatusCode::CREATED);
    assert_eq!(closed.json::<Value>().await.unwrap(), json!({"number": 1}));

    let mine = gateway.get("/api/statements").await;
    let earned = gateway.get("/api/ledger/balance").await["earned"].clone();
    assert_eq!((&mine["data"][0]["closing"], &mine["data"][0]["receipts"]), (&earned, &json!(2)));
    let document = text(&gateway, "/api/statements/1").await;
    let statement: Statement = serde_json::from_str(&document).unwrap();
    assert_eq!((statement.check(), statement.to_document()), (Ok(()), document.clone()));
    assert_eq!(statement.closing, earned["nanocredits"].as_i64().unwrap());
    assert!(statement.lines[0].microjoules.get() > 0 && statement.lines[0].completion_tokens == 16);
    let table = text(&gateway, "/api/statements/1?format=csv").await;
    assert_eq!(table, statement.to_csv());

    let epoch: Value = serde_json::from_str(&text(&gateway, "/log/epochs").await).unwrap();
    let digest = epoch["data"][0]["document"].as_str().unwrap();
    let epoch: ClosedEpoch = serde_json::from_str(&text(&gateway, &format!("/log/document/{digest}")).await).unwrap();
    assert_eq!((epoch.totals.receipts, epoch.totals.completion_tokens), (2, 16));
    let published = text(&gateway, &format!("/log/document/{}", epoch.statements[&statement.party])).await;
    assert_eq!(published, document, "byte for byte");
    let entry = Entry::of(Kind::Statement, document.as_bytes());
    tests::eventually("the statement's leaf", Duration::from_secs(10), || async {
        let path = gateway.url(&format!("/log/proof/{}", entry.leaf().to_hex()));
        gateway.client.get(path).send().await.unwrap().error_for_status().ok()
    })
    .await;
    let again = gateway.admin(&["recompute-epoch", "1"]).await;
    assert!(again.ends_with("of 2 receipts, byte for byte as they were published"), "{again}");
}

#[tokio::test]
async fn statements_are_for_those_whom_they_are_about() {
    let gateway = Gateway::start().await;
    let _node = Node::join(&gateway, &[]).await;
    let empty = gateway.get("/api/statements").await;
    assert_eq!(empty["data"], json!([]));
    gateway.chat(&conversation(json!({}))).await.text().await.unwrap();
    all_logged(&gateway, 1).await;
    assert_eq!(close(&gateway).await.status(), StatusCode::CREATED);
    gateway.create_user("stranger@example.com", "a password of a stranger").await;
    let session = gateway.sign_in("stranger@example.com", "a password of a stranger").await;
    let token = session["access_token"].as_str().unwrap();
    let ask = async |path: &str| {
        let asked = gateway.client.get(gateway.url(path)).bearer_auth(token).send().await.unwrap();
        (asked.status().as_u16(), asked.json::<Value>().await.unwrap())
    };
    assert_eq!(ask("/api/statements").await.1["data"], json!([]), "no nodes, no models");
    assert_eq!(ask("/api/statements/1").await.0, 404);
    for path in ["/api/statements?party=gateway", "/api/statements?party=all", "/api/statements/1?party=audit_fund"] {
        assert_eq!(ask(path).await.0, 403, "{path}");
    }
    let (status, problem) = ask("/api/statements?party=nobody").await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("operator:<id>"), "{problem}");
    assert_eq!(ask("/api/epochs").await.1["data"][0]["totals"]["receipts"], 1, "the books are open");
    let close = gateway.client.post(gateway.url("/api/epochs")).bearer_auth(token).send().await.unwrap();
    assert_eq!(close.status(), StatusCode::FORBIDDEN);
    let all = gateway.get("/api/statements?party=all").await;
    let parties: Vec<&str> = all["data"].as_array().unwrap().iter().map(|one| one["party"].as_str().unwrap()).collect();
    assert!(parties.contains(&"gateway") && parties.contains(&"audit_fund") && parties.len() >= 4, "{parties:?}");
}

/// A request of an administrator's program.
async fn manage(gateway: &Gateway, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = gateway.client.request(method, gateway.url(path)).bearer_auth(&gateway.management_key).json(&body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn an_operator_is_paid_what_the_statement_says_and_the_next_one_says_so() {
    let settings = [("COMMONWATT_MINIMUM_PAYOUT", "0.000000001")];
    let gateway = Gateway::start_with(Database::create().await, &settings).await;
    let _node = Node::join(&gateway, &[]).await;
    gateway.chat(&conversation(json!({}))).await.text().await.unwrap();
    all_logged(&gateway, 1).await;
    let (status, author) = manage(
        &gateway,
        Method::PUT,
        "/api/authors/HuggingFaceTB",
        json!({"account": gateway.get("/api/me").await["account"]}),
    )
    .await;
    assert_eq!(status, 200, "{author}");
    assert_eq!(close(&gateway).await.status(), StatusCode::CREATED);

    let to = json!({"destination": "=IBAN 1"});
    assert_eq!(manage(&gateway, Method::PUT, "/api/payouts/destination", to).await.0, 200);
    let statements = gateway.get("/api/statements").await;
    let owed: i64 = statements["data"].as_array().unwrap().iter().map(|one| number(&one["closing"])).sum();
    let table = text(&gateway, "/api/payouts/csv?state=due").await;
    let rows = cells(&table);
    assert_eq!(rows.len(), 2, "the operator's and the author's: {table}");
    assert!(rows.iter().all(|row| row["destination"] == "'=IBAN 1"), "no formula: {table}");
    let due: i64 = rows.iter().map(|row| row["nanocredits"].parse::<i64>().unwrap()).sum();
    assert_eq!(due, owed);

    let first = format!("/api/payouts/{}", rows[0]["id"]);
    let held = manage(&gateway, Method::PATCH, &first, json!({"state": "held", "reason": "a question"})).await;
    assert_eq!((held.0, &held.1["state"]), (200, &json!("held")));
    let paid: String = rows.iter().map(|row| format!("{},bank {}\n", row["id"], row["epoch"])).collect();
    let send = async || {
        let request = gateway.client.post(gateway.url("/api/payouts/csv")).bearer_auth(&gateway.management_key);
        let answer = request.header("content-type", "text/csv").body(format!("id,reference\n{paid}")).send().await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, why) = send().await;
    assert!((400..500).contains(&status) && why.contains("is held ('a question')"), "{status} {why}");
    let earned = gateway.get("/api/ledger/balance").await["earned"].clone();
    assert!(number(&earned) > 0, "all or nothing");
    assert_eq!(manage(&gateway, Method::PATCH, &first, json!({"state": "due"})).await.0, 200);
    assert_eq!(send().await, (200, r#"{"paid":2,"paid_before":0}"#.to_owned()));
    assert_eq!(send().await, (200, r#"{"paid":0,"paid_before":2}"#.to_owned()), "once");
    assert_eq!(number(&gateway.get("/api/ledger/balance").await["earned"]), 0);

    assert_eq!(close(&gateway).await.status(), StatusCode::CREATED);
    let statement: Statement = serde_json::from_str(&text(&gateway, "/api/statements/2").await).unwrap();
    assert_eq!((statement.opening, statement.closing), (number(&earned), 0));
    let moved: Vec<(&str, i64)> =
        statement.movements.iter().map(|moved| (moved.kind.as_str(), moved.nanocredits)).collect();
    assert_eq!(moved, [("payout", -number(&earned))]);
    let epochs = gateway.get("/api/epochs").await;
    assert_eq!(epochs["data"][0]["totals"]["paid_out"].as_i64(), Some(owed));
    gateway.audit().await;
}

/// Of a table without quotes: each row's, by column.
fn cells(table: &str) -> Vec<HashMap<&str, &str>> {
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    lines.map(|line| head.iter().copied().zip(line).collect()).collect()
}

fn number(money: &Value) -> i64 {
    money["nanocredits"].as_i64().unwrap()
}
