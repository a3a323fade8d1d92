//! The same seed, model and build give the same text on every node that computes one answer at a time, alone or while others
//! wait. `COMMONWATT_SEEDS` says for how many prompts.

use serde_json::{Value, json};
use tests::{Node, conversation};

fn count() -> usize {
    std::env::var("COMMONWATT_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(3)
}

fn ask(prompt: usize, temperature: f64, seed: u64) -> Value {
    const PROMPTS: [&str; 5] = [
        "Tell me about the sea.",
        "Why?",
        "Describe a small village in winter.",
        "List three birds.",
        "What is bread?",
    ];
    let question = format!("{} ({prompt})", PROMPTS[prompt % PROMPTS.len()]);
    conversation(json!({
        "messages": [{"role": "user", "content": question}],
        "temperature": temperature,
        "seed": seed,
        "max_tokens": 16,
        "logit_bias": {"2": -100},
    }))
}

async fn text(node: &Node, body: &Value) -> String {
    node.chat(body).await["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_seed_decides_the_text_alone_while_others_wait_and_elsewhere() {
    let (one, other) = (Node::start(&["--slots", "1"]).await, Node::start(&["--slots", "1"]).await);
    let asked: Vec<(usize, f64)> =
        (0..count()).flat_map(|prompt| [0.0, 0.7, 1.3].map(|temperature| (prompt, temperature))).collect();
    let (mut beside, mut elsewhere, mut same) = (0, 0, 0);
    for four in asked.chunks(4) {
        let bodies: Vec<Value> = four.iter().map(|(prompt, temperature)| ask(*prompt, *temperature, 11)).collect();
        let together = futures_util::future::join_all(bodies.iter().map(|body| text(&one, body))).await;
        for ((body, text_beside), (prompt, temperature)) in bodies.iter().zip(together).zip(four) {
            let alone = text(&one, body).await;
            beside += usize::from(alone == text_beside);
            elsewhere += usize::from(alone == text(&other, body).await);
            same += usize::from(*temperature > 0.0 && alone == text(&one, &ask(*prompt, *temperature, 12)).await);
        }
    }
    let all = asked.len();
    println!(
        "seeds: {all} texts, {beside} the same while others wait, {elsewhere} on another node, {same} with another seed"
    );
    assert_eq!((beside, elsewhere), (all, all));
    assert_eq!(same, 0, "another seed says something else");
}
