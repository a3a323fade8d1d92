mod book;
mod epochs;
mod flips;
mod growth;
mod making;
mod refusals;
mod statements;

use std::path::{Path, PathBuf};

use making::{ANSWER, Log, REQUEST, WHOLE_ANSWER, alone, file, gateway, keys, paid, policy, signer};
use serde::Serialize;

use super::*;
use crate::receipt::Receipt;
use crate::units::{Microjoules, Nanocredits};

fn sign(claims: &impl Serialize) -> String {
    gateway().sign(claims).unwrap()
}

/// What is found with the gateway's keys and nothing else.
fn verdict_on(claims: &impl Serialize) -> Verdict {
    let (file, keys) = (sign(claims), keys());
    receipt(&Evidence { receipt: file.as_bytes(), keys: Some(keys.as_bytes()), ..Evidence::default() }).unwrap()
}

fn holds(verdict: &Verdict, what: What) -> Option<bool> {
    verdict.findings.iter().find(|finding| finding.what == what).and_then(|finding| finding.holds)
}

fn failing(verdict: &Verdict) -> Vec<What> {
    verdict.findings.iter().filter(|finding| finding.holds == Some(false)).map(|finding| finding.what).collect()
}

fn says(verdict: &Verdict, what: What) -> &str {
    verdict.findings.iter().find(|finding| finding.what == what).map_or("", |finding| &finding.says)
}

/// All that a customer can have.
fn everything() -> (String, String, String) {
    let token = sign(&paid());
    let proof = Log::with(&token, u64::MAX).proof();
    (file(&token, Some(&proof)), keys(), policy())
}

#[test]
fn with_everything_at_hand_everything_holds() {
    let (file, keys, policy) = everything();
    let evidence = Evidence {
        receipt: file.as_bytes(),
        keys: Some(keys.as_bytes()),
        policy: Some(policy.as_bytes()),
        proof: None,
        request: Some(REQUEST.as_bytes()),
        answer: Some(ANSWER.as_bytes()),
    };
    let verdict = receipt(&evidence).unwrap();
    assert!(verdict.holds && verdict.findings.iter().all(|finding| finding.holds == Some(true)), "{verdict:#?}");
    assert_eq!(verdict.summary, "12 hold, 0 do not: this receipt holds.");
    let cost = "19 tokens of the prompt × 100 + 12 tokens that the node still had × 25 + 5 tokens of the answer × 400 = \
                4200 nanocredits: 0.0000042 credits.";
    assert_eq!(says(&verdict, What::Cost), cost);
    assert!(says(&verdict, What::Shares).contains("operator 3570 (85 %)"), "{}", says(&verdict, What::Shares));
    assert!(says(&verdict, What::Witnesses).contains("witness-b.example (2026-09-21 14:16:00 UTC)"), "{verdict:#?}");
}

#[test]
fn a_receipt_alone_is_not_proven_and_nothing_speaks_against_it() {
    let token = sign(&paid());
    let verdict = receipt(&Evidence { receipt: token.as_bytes(), ..Evidence::default() }).unwrap();
    assert!(!verdict.holds && failing(&verdict).is_empty(), "{verdict:#?}");
    assert!(verdict.summary.contains("is not known"), "{}", verdict.summary);
    assert!(verdict_on(&paid()).holds, "its keys are enough");
}

#[test]
fn every_figure_is_checked_for_itself() {
    let with = |change: &dyn Fn(&mut Receipt)| {
        let mut claims = paid();
        change(&mut claims);
        let verdict = verdict_on(&claims);
        assert_eq!(verdict.holds, claims.check().is_ok(), "{verdict:#?}");
        failing(&verdict)
    };
    assert!(with(&|_| ()).is_empty());
    assert_eq!(with(&|claims| claims.nanocredits = Nanocredits::new(4_201)), [What::Cost, What::Shares]);
    assert_eq!(with(&|claims| claims.completion_tokens = 4), [What::Cost]);
    assert_eq!(with(&|claims| claims.completion_tokens = 6), [What::Node, What::Cost], "more than the node has made");
    assert_eq!(with(&|claims| claims.is_paid = false), [What::Cost]);
    assert_eq!(with(&|claims| claims.shares = None), [What::Shares]);
    assert_eq!(with(&|claims| claims.shares.as_mut().unwrap().operator = Nanocredits::new(3_571)), [What::Shares]);
    assert_eq!(with(&|claims| claims.shares.as_mut().unwrap().split.gateway_ppm = 80_001), [What::Shares]);
    let energy = |change: fn(&mut crate::receipt::ReceiptEnergy)| {
        with(&move |claims: &mut Receipt| change(claims.energy.as_mut().unwrap()))
    };
    assert_eq!(energy(|energy| energy.low_microjoules = Microjoules::new(61_401)), [What::Energy]);
    assert_eq!(energy(|energy| energy.facility_microjoules = Microjoules::new(76_081)), [What::Site]);
    assert_eq!(energy(|energy| energy.micrograms_co2e = Some(6)), [What::Carbon]);
    assert_eq!(energy(|energy| energy.micrograms_co2e = None), [What::Carbon]);
    assert_eq!(energy(|energy| energy.pue_milli = 1_000), [What::Site]);
    assert_eq!(with(&|claims| claims.node_receipt = None), [What::Node]);
    assert_eq!(with(&|claims| claims.id.attempt = 2), [What::Node], "the node's part is of another attempt");
    assert_eq!(with(&|claims| claims.node_receipt = gateway().sign(&making::node_receipt())), [What::Node]);
    assert_eq!(with(&|claims| claims.v = 2), [What::Identity]);
}

#[test]
fn figures_beyond_all_reason_are_found_out_and_nothing_overflows() {
    let most = |claims: &mut Receipt| {
        (claims.prompt_tokens, claims.cached_tokens, claims.completion_tokens) = (u64::MAX, 1, u64::MAX);
        claims.price.prompt = Nanocredits::new(u64::MAX);
        claims.nanocredits = Nanocredits::new(u64::MAX);
        let energy = claims.energy.as_mut().unwrap();
        (energy.microjoules, energy.idle_microjoules) = (Microjoules::new(u64::MAX), Microjoules::new(u64::MAX));
        energy.pue_milli = u32::MAX;
        energy.grid.as_mut().unwrap().mg_per_kwh = u64::MAX;
        let mut said = making::node_receipt();
        (said.begun_tokens, said.completion_tokens) = (u64::MAX, u64::MAX);
        claims.node_receipt = signer(2).sign(&said);
    };
    let mut claims = paid();
    most(&mut claims);
    let verdict = verdict_on(&claims);
    assert_eq!(failing(&verdict), [What::Node, What::Cost, What::Shares, What::Energy, What::Site, What::Carbon]);
}

#[test]
fn a_gateway_that_signs_alone_says_why() {
    let verdict = verdict_on(&alone());
    assert!(verdict.holds, "{verdict:#?}");
    assert_eq!(holds(&verdict, What::Node), None);
    assert!(says(&verdict, What::Node).contains("attached"));
    assert!(says(&verdict, What::Cost).contains("free"));
}

#[test]
fn the_signature_counts_and_so_does_the_key() {
    let (token, keys) = (sign(&paid()), keys());
    let by = |token: &str| {
        let evidence = Evidence { receipt: token.as_bytes(), keys: Some(keys.as_bytes()), ..Evidence::default() };
        let verdict = receipt(&evidence).unwrap();
        (verdict.holds, says(&verdict, What::Signature).to_owned())
    };
    assert!(by(&token).0 && by(&signer(9).sign(&paid()).unwrap()).0, "by today's key and by the one of before");
    let (holds, says) = by(&signer(5).sign(&paid()).unwrap());
    assert!(!holds && says.contains("not among those given"), "{says}");
    let files = making::files();
    let (_, forged) = files.iter().find(|(name, _)| *name == "forged.json").unwrap();
    let (holds, says) = by(forged);
    assert!(!holds && says.contains("has not signed"), "{says}");
}

#[test]
fn the_file_around_a_receipt_must_be_of_it() {
    let (token, keys) = (sign(&paid()), keys());
    let good = file(&token, None);
    for (from, to) in [("91f1.1\"", "91f1.2\""), (gateway().kid(), signer(9).kid())] {
        let file = good.replace(from, to);
        let evidence = Evidence { receipt: file.as_bytes(), keys: Some(keys.as_bytes()), ..Evidence::default() };
        assert_eq!(failing(&receipt(&evidence).unwrap()), [What::Identity], "{from}");
    }
}

#[test]
fn a_proof_is_of_one_receipt_and_the_policy_says_who_is_believed() {
    let (good, keys, policy) = everything();
    let verdict = |file: &str, policy: Option<&str>| {
        let policy = policy.map(str::as_bytes);
        receipt(&Evidence { receipt: file.as_bytes(), keys: Some(keys.as_bytes()), policy, ..Evidence::default() })
            .unwrap()
    };
    let believed = verdict(&good, Some(&policy));
    assert_eq!([What::Log, What::Witnesses].map(|what| holds(&believed, what)), [Some(true); 2], "{believed:#?}");
    assert_eq!([What::Log, What::Witnesses].map(|what| holds(&verdict(&good, None), what)), [None; 2]);
    let asked = verdict(&file(&sign(&paid()), None), Some(&policy));
    assert_eq!((failing(&asked), asked.holds), (vec![What::Log], false), "what was asked for is not shown");
    let another = sign(&Receipt { price_version: None, ..paid() });
    let (proof, token) = (Log::with(&another, u64::MAX).proof(), sign(&paid()));
    for policy in [None, Some(policy.as_str())] {
        assert_eq!(failing(&verdict(&file(&token, Some(&proof)), policy)), [What::Log]);
    }
    let strict = policy.replace("witness b", "witness c").replace("all a b", "all a c");
    assert!(verdict(&good, Some(&strict)).holds, "names in a policy are its own");
    let stranger = policy.replace("witness-b.example+", "witness-c.example+");
    let evidence = Evidence { receipt: good.as_bytes(), policy: Some(stranger.as_bytes()), ..Evidence::default() };
    assert_eq!(receipt(&evidence).unwrap_err().input, Input::Policy, "a key's id is of its name");
    let nobody = "quorum none\n";
    assert_eq!(failing(&verdict(&good, Some(nobody))), [What::Witnesses]);
}

#[test]
fn a_proof_may_lie_beside_the_receipt() {
    let (keys, policy, token) = (keys(), policy(), sign(&paid()));
    let proof = Log::with(&token, u64::MAX).proof();
    let (keys, policy, proof) = (Some(keys.as_bytes()), Some(policy.as_bytes()), Some(proof.as_bytes()));
    let verdict = receipt(&Evidence { receipt: token.as_bytes(), keys, policy, proof, ..Evidence::default() }).unwrap();
    assert_eq!((verdict.holds, holds(&verdict, What::Log)), (true, Some(true)));
}

#[test]
fn request_and_answer_are_known_again_however_they_were_kept() {
    let (streamed, whole) = (file(&sign(&paid()), None), file(&sign(&alone()), None));
    let verdict = |file: &str, request: &[u8], answer: &[u8]| {
        let evidence =
            Evidence { receipt: file.as_bytes(), request: Some(request), answer: Some(answer), ..Evidence::default() };
        failing(&receipt(&evidence).unwrap())
    };
    let without_comments: String = ANSWER.split_inclusive("\n\n").filter(|event| !event.starts_with(':')).collect();
    let failed = format!("{without_comments}data: {{\"error\":{{\"message\":\"lost\"}}}}\n\n");
    let continued = format!("data: {{\"first\":1}}\n\n: the node was lost, another one goes on\n\n{ANSWER}");
    for answer in [ANSWER, &without_comments, ANSWER.trim_end(), &format!("{ANSWER}\n"), &failed, &continued] {
        assert!(verdict(&streamed, REQUEST.as_bytes(), answer.as_bytes()).is_empty(), "{answer}");
    }
    assert!(verdict(&whole, format!("{REQUEST}\n").as_bytes(), WHOLE_ANSWER.as_bytes()).is_empty());
    for (request, answer, wrong) in [
        (REQUEST.replace("Hello", "Hallo"), ANSWER.to_owned(), What::Request),
        (REQUEST.replace(':', ": "), ANSWER.to_owned(), What::Request),
        (REQUEST.to_owned(), ANSWER.replace("there", "here"), What::Answer),
        (REQUEST.to_owned(), ANSWER.replace("data: [DONE]\n\n", ""), What::Answer),
        (REQUEST.to_owned(), WHOLE_ANSWER.to_owned(), What::Answer),
        (REQUEST.to_owned(), String::new(), What::Answer),
    ] {
        assert_eq!(verdict(&streamed, request.as_bytes(), answer.as_bytes()), [wrong], "{request} {answer}");
    }
    let token = sign(&paid());
    assert_eq!(verdict(&token, REQUEST.as_bytes(), ANSWER.as_bytes()), [What::Request, What::Answer], "without salt");
    let nothing = file(&sign(&Receipt { answer_commitment: None, ..alone() }), None);
    assert_eq!(verdict(&nothing, REQUEST.as_bytes(), b""), [What::Answer]);
}

#[test]
fn a_caller_that_speaks_json_gets_the_same() {
    let (file, keys, policy) = everything();
    let question =
        serde_json::json!({"receipt": file, "keys": keys, "policy": policy, "request": REQUEST, "answer": ANSWER});
    let answer: serde_json::Value = serde_json::from_str(&json::answer(question.to_string().as_bytes())).unwrap();
    let verdict = &answer["verdict"];
    assert_eq!((&verdict["holds"], verdict["findings"].as_array().unwrap().len()), (&true.into(), 12), "{answer}");
    assert!(verdict["findings"].as_array().unwrap().iter().all(|finding| finding["holds"] == true), "{answer}");
    let refused = json::answer(br#"{"receipt": "a.b"}"#);
    assert!(refused.starts_with(r#"{"unreadable":{"input":"receipt","why":"#), "{refused}");
    for bad in ["", "{}", r#"{"receipt":"a","receipt":"b"}"#, r#"{"receipt":"a","more":1}"#] {
        assert!(json::answer(bad.as_bytes()).starts_with(r#"{"unreadable":{"input":null"#), "{bad}");
    }
}

/// Where the files lie that other tests, other programs and other languages verify.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

/// Each with its path.
fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let receipts = making::files().into_iter().map(|(name, text)| (format!("receipts/{name}"), text.into_bytes()));
    let log = book::files().into_iter().map(|(name, bytes)| (format!("epochs/log/{name}"), bytes));
    let statement = book::statement_files().into_iter().map(|(name, bytes)| (format!("epochs/{name}"), bytes));
    receipts.chain(log).chain(statement).map(|(name, bytes)| (folder().join(name), bytes)).collect()
}

#[test]
fn the_files_that_others_verify_are_these() {
    for (path, bytes) in files() {
        let is_kept = std::fs::read(&path).is_ok_and(|kept| kept == bytes);
        assert!(is_kept, "{}: cargo test -p openapi -- --ignored writes it anew", path.display());
    }
}

#[test]
#[ignore = "writes the files that others verify"]
fn write_the_files_that_others_verify() {
    for (path, bytes) in files() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
