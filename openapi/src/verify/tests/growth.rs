//! A log that grew, and logs that did not.

use super::super::growth::{Checkpoints, log_only_grew};
use super::*;

struct Files {
    old: String,
    new: String,
    forked: String,
    consistency: String,
    policy: String,
}

fn files() -> Files {
    let of = |name: &str| making::files().into_iter().find(|(file, _)| *file == name).unwrap().1;
    Files {
        old: of("old.checkpoint"),
        new: of("new.checkpoint"),
        forked: of("forked.checkpoint"),
        consistency: of("consistency.txt"),
        policy: of("policy.txt"),
    }
}

fn verify(old: &str, new: &str, consistency: Option<&str>) -> Verdict {
    let policy = policy();
    let (old, new, consistency) = (old.as_bytes(), new.as_bytes(), consistency.map(str::as_bytes));
    log_only_grew(&Checkpoints { old, new, consistency, policy: policy.as_bytes() }).unwrap()
}

#[test]
fn a_log_that_grew_is_shown_to_have_grown() {
    let Files { old, new, consistency, .. } = files();
    let verdict = verify(&old, &new, Some(&consistency));
    assert!(verdict.holds && verdict.summary.ends_with("the log only grew."), "{verdict:#?}");
    assert!(says(&verdict, What::Growth).contains("All 30 entries of the old tree begin the new one; 10 came"));
    assert!(verify(&new, &new, None).holds, "the same tree needs no proof");
}

#[test]
fn a_fork_shows_both_heads() {
    let Files { old, new, forked, consistency, .. } = files();
    let [of_new, of_forked] = [&new, &forked].map(|file| file.lines().nth(2).unwrap());
    for (old, new, proof) in [(&new, &forked, None), (&old, &forked, Some(consistency.as_str()))] {
        let verdict = verify(old, new, proof);
        assert_eq!((verdict.holds, failing(&verdict)), (false, vec![What::Growth]), "both are well signed");
        assert!(says(&verdict, What::Growth).contains(of_forked) && says(&verdict, What::Growth).contains("forked"));
    }
    assert!(says(&verify(&new, &forked, None), What::Growth).contains(of_new));
}

#[test]
fn what_shows_nothing_is_said() {
    let Files { old, new, consistency, policy, .. } = files();
    for (verdict, word) in [
        (verify(&old, &new, None), "No proof was given"),
        (verify(&new, &old, Some(&consistency)), "smaller"),
        (verify(&old, &new, Some("")), "too many or too few"),
        (
            verify(&old, &new, Some(&consistency.lines().rev().map(|line| format!("{line}\n")).collect::<String>())),
            "another root",
        ),
    ] {
        assert_eq!((verdict.holds, failing(&verdict)), (false, vec![What::Growth]));
        assert!(says(&verdict, What::Growth).contains(word), "{verdict:#?}");
    }
    let unseen: String =
        new.lines().filter(|line| !line.contains("witness-b")).map(|line| format!("{line}\n")).collect();
    assert_eq!(failing(&verify(&old, &unseen, Some(&consistency))), [What::New]);
    let refused = |old: &str, consistency: &str| {
        let (new, policy) = (new.as_bytes(), policy.as_bytes());
        let given = Checkpoints { old: old.as_bytes(), new, consistency: Some(consistency.as_bytes()), policy };
        log_only_grew(&given).unwrap_err().input
    };
    assert_eq!(refused("", &consistency), Input::OldCheckpoint);
    for bad in ["hash\n", &"x".repeat(10 << 20), &format!("{}\n", consistency.lines().next().unwrap()).repeat(64)] {
        assert_eq!(refused(&old, bad), Input::Consistency);
    }
}

#[test]
fn no_byte_of_a_checkpoint_or_of_the_proof_may_change() {
    let Files { old, new, consistency, policy, .. } = files();
    let all = [old.into_bytes(), new.into_bytes(), consistency.into_bytes()];
    for file in 0..all.len() {
        for at in 0..all[file].len() {
            let mut all = all.clone();
            all[file][at] ^= 1 << (at % 8);
            let [old, new, consistency] = &all;
            let given = Checkpoints { old, new, consistency: Some(consistency), policy: policy.as_bytes() };
            assert!(!log_only_grew(&given).is_ok_and(|verdict| verdict.holds), "byte {at} of file {file}");
        }
    }
}
