//! Stopping and starting, of the gateway and of the database under it.

use std::time::Duration;

use gateway::up::PrivatePostgres;
use serde_json::json;
use tests::{Behaviour, Database, Gateway, Node, ScriptedNode, conversation, eventually};

#[tokio::test]
async fn sigterm_lets_eight_streams_end_and_writes_their_rows() {
    let mut gateway = Gateway::start().await;
    let _node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 60, every_ms: 20 }).await;
    let body = conversation(json!({"stream": true, "max_tokens": 60}));
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = gateway.chat(&body).await;
        stream.chunk().await.unwrap().unwrap();
        streams.push(stream);
    }
    gateway.terminate();
    eventually("new connections are refused", Duration::from_secs(5), || async {
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(gateway.url("/healthz"))
            .send()
            .await
            .is_err()
            .then_some(())
    })
    .await;
    for mut stream in streams {
        let mut last = String::new();
        while let Some(chunk) = stream.chunk().await.unwrap() {
            last = String::from_utf8(chunk.to_vec()).unwrap();
        }
        assert!(last.ends_with("data: [DONE]\n\n"), "{last}");
    }
    assert_eq!(gateway.ended().await, Some(0));
    let rows: Vec<(String, i64)> = sqlx::query_as("select outcome, completion_tokens from requests")
        .fetch_all(&gateway.database.pool)
        .await
        .unwrap();
    assert_eq!(rows, vec![("completed".to_owned(), 60); 8]);
}

#[tokio::test]
async fn what_still_runs_after_the_drain_is_settled_before_the_gateway_ends() {
    let settings = [("COMMONWATT_DRAIN_SECONDS", "1")];
    let mut gateway = Gateway::start_with(Database::create().await, &settings).await;
    let _node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 1000, every_ms: 20 }).await;
    let body = conversation(json!({"stream": true, "max_tokens": 1000}));
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = gateway.chat(&body).await;
        stream.chunk().await.unwrap().unwrap();
        streams.push(stream);
    }
    gateway.terminate();
    assert_eq!(gateway.ended().await, Some(0));
    let rows: Vec<(String, bool)> = sqlx::query_as("select outcome, nanocredits > 0 from requests")
        .fetch_all(&gateway.database.pool)
        .await
        .unwrap();
    assert_eq!(rows, vec![("client_left".to_owned(), true); 8]);
}

#[tokio::test]
async fn a_gateway_that_is_about_to_stop_serves_and_lets_go_of_its_connections() {
    let gateway = Gateway::start_with(Database::create().await, &[("COMMONWATT_STOP_DELAY_SECONDS", "3")]).await;
    let _node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    let body = conversation(json!({"stream": true}));
    assert!(!gateway.chat(&body).await.headers().contains_key("connection"), "connections are kept");
    gateway.terminate();
    eventually("it says that it will stop", Duration::from_secs(3), || async {
        let ready = gateway.client.get(gateway.url("/readyz")).send().await.ok()?;
        (ready.status() == 503).then_some(())
    })
    .await;
    let answer = gateway.chat(&body).await;
    assert_eq!(answer.headers().get("connection").map(|value| value.as_bytes()), Some(&b"close"[..]));
    assert!(answer.text().await.unwrap().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_kept_connection_does_not_close_under_the_next_request() {
    let gateway = Gateway::start().await;
    let _node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 60, every_ms: 10 }).await;
    let body = conversation(json!({"stream": true, "max_tokens": 60}));
    let mut begun_before = gateway.chat(&body).await;
    begun_before.chunk().await.unwrap().unwrap();
    gateway.terminate();
    eventually("no new connections", Duration::from_secs(5), || async {
        tokio::net::TcpStream::connect(gateway.address()).await.is_err().then_some(())
    })
    .await;
    assert!(begun_before.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    let next = gateway.chat(&body).await;
    assert_eq!(next.headers().get("connection").map(|value| value.as_bytes()), Some(&b"close"[..]));
    assert!(next.text().await.unwrap().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_node_told_to_stop_ends_its_answer_and_says_goodbye() {
    let gateway = Gateway::start().await;
    let mut node = Node::join(&gateway, &[]).await;
    let mut stream =
        gateway.chat(&conversation(json!({"stream": true, "max_tokens": 40, "logit_bias": {"2": -100}}))).await;
    stream.chunk().await.unwrap().unwrap();
    node.terminate();
    let refused = eventually("no new work", Duration::from_secs(5), || async {
        let response = gateway.chat(&conversation(json!({}))).await;
        (response.status() == 503).then_some(())
    });
    let rest = async {
        let mut last = String::new();
        while let Some(chunk) = stream.chunk().await.unwrap() {
            last = String::from_utf8(chunk.to_vec()).unwrap();
        }
        last
    };
    let ((), last) = tokio::join!(refused, rest);
    assert!(last.ends_with("data: [DONE]\n\n"), "{last}");
    let ended = tokio::time::timeout(Duration::from_secs(10), node.ended()).await;
    assert_eq!(ended.expect("it does not wait for the end of its drain time"), Some(0));
}

#[tokio::test]
async fn while_postgres_is_away_known_keys_work_and_every_row_arrives_afterwards() {
    let folder = std::env::temp_dir().join(format!("postgres-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let postgres = PrivatePostgres::start(&folder, false).await.unwrap();
    let gateway = Gateway::start_on(Database::at(postgres.url()).await).await;
    let _node = ScriptedNode::join(&gateway, Behaviour::Answers { pieces: 3, every_ms: 1 }).await;
    let body = conversation(json!({"stream": true}));
    assert!(gateway.chat(&body).await.text().await.unwrap().ends_with("[DONE]\n\n"));
    postgres.stop().await;

    let ready = gateway.client.get(gateway.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503, "readiness is honest");
    for _ in 0..5 {
        assert!(gateway.chat(&body).await.text().await.unwrap().ends_with("[DONE]\n\n"), "a known key goes on");
    }
    let unknown = gateway.client.get(gateway.url("/v1/models")).bearer_auth("sk-cw-unknown-key").send().await.unwrap();
    assert_eq!(
        (unknown.status().as_u16(), unknown.headers().contains_key("retry-after")),
        (503, true),
        "nobody knows: not 401"
    );

    let postgres = PrivatePostgres::start(&folder, false).await.unwrap();
    let rows = eventually("the rows", Duration::from_secs(20), || async {
        let counted = sqlx::query_as::<_, (i64,)>("select count(*) from requests where outcome = 'completed'");
        counted.fetch_one(&gateway.database.pool).await.ok().filter(|(count,)| *count == 6)
    });
    rows.await;
    eventually("ready again", Duration::from_secs(5), || async {
        let ready = gateway.client.get(gateway.url("/readyz")).send().await.ok()?;
        (ready.status() == 200).then_some(())
    })
    .await;
    drop(gateway);
    postgres.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}
