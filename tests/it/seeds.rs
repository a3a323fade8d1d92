//! The same seed, model and build give the same text: alone, while others wait, beside three others, and on another node.
//! `COMMONWATT_SEEDS` says for how many prompts.

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
async fn a_seed_decides_the_text_alone_in_company_and_elsewhere() {
    let (one, other) = (Node::start(&["--slots", "1"]).await, Node::start(&["--slots", "4"]).await);
    let asked: Vec<(usize, f64)> =
        (0..count()).flat_map(|prompt| [0.0, 0.7, 1.3].map(|temperature| (prompt, temperature))).collect();
    let (mut waiting, mut beside, mut elsewhere, mut same) = (0, 0, 0, 0);
    for four in asked.chunks(4) {
        let bodies: Vec<Value> = four.iter().map(|(prompt, temperature)| ask(*prompt, *temperature, 11)).collect();
        let at_once = |node| futures_util::future::join_all(bodies.iter().map(move |body| text(node, body)));
        let (in_line, together) = (at_once(&one).await, at_once(&other).await);
        for (at, (body, (prompt, temperature))) in bodies.iter().zip(four).enumerate() {
            let alone = text(&one, body).await;
            waiting += usize::from(alone == in_line[at]);
            beside += usize::from(alone == together[at]);
            elsewhere += usize::from(alone == text(&other, body).await);
            same += usize::from(*temperature > 0.0 && alone == text(&one, &ask(*prompt, *temperature, 12)).await);
        }
    }
    let all = asked.len();
    println!(
        "seeds: {all} texts, the same: {waiting} while others wait, {beside} beside three others, {elsewhere} alone on another \
         node, {same} with another seed"
    );
    assert_eq!((waiting, beside, elsewhere), (all, all, all));
    assert_eq!(same, 0, "another seed says something else");
}

/// Left alone, the engine gives sequences of one length the attention of the last one of them, and each goes on with the
/// other's text.
#[tokio::test]
async fn questions_of_one_length_get_their_own_answers() {
    let node = Node::start(&["--slots", "3"]).await;
    // Another one first: those that come while it is read begin in the same step.
    let first = conversation(json!({"messages": [{"role": "user", "content": "sea ".repeat(60)}], "max_tokens": 2}));
    let bodies = ["What is the capital of France?", "What is the colour of blood?", "Who was the king of England?"]
        .map(|question| conversation(json!({"messages": [{"role": "user", "content": question}], "temperature": 0})));
    let together = futures_util::future::join_all(bodies.iter().map(|body| node.chat(body)));
    let (_, together) = tokio::join!(node.chat(&first), together);
    for (body, beside) in bodies.iter().zip(together) {
        let alone = node.chat(body).await;
        assert_eq!(alone["usage"]["prompt_tokens"], 37);
        assert_eq!(alone["choices"][0]["message"], beside["choices"][0]["message"]);
    }
}
