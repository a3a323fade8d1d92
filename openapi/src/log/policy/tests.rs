use proptest::prelude::*;

use super::super::checkpoint::Checkpoint;
use super::super::cosignature;
use super::super::key::{KeyKind, NoKey, SigningKey};
use super::super::note;
use super::super::tree::TreeHead;
use super::*;

const ORIGIN: &str = "log.example";

fn log_key() -> SigningKey {
    SigningKey::new(ORIGIN, KeyKind::Note, &[0; 32]).unwrap()
}

/// Witness `number`, from 1.
fn witness(number: u8) -> SigningKey {
    SigningKey::new(&format!("w{number}.example"), KeyKind::Cosignature, &[number; 32]).unwrap()
}

/// A line for the log, one for each of nine witnesses, W1 to W9, and more.
fn file(more: &str) -> String {
    let witnesses = (1..10).map(|number| format!("witness W{number} {}\n", witness(number).verifier()));
    format!("log {}\n{}{more}", log_key().verifier(), witnesses.collect::<String>())
}

fn cosigned(witnesses: &[u8]) -> SignedCheckpoint {
    let checkpoint = Checkpoint::new(ORIGIN, TreeHead::EMPTY, &[]).unwrap();
    let mut signed = SignedCheckpoint::new(checkpoint, &log_key()).unwrap();
    for number in witnesses {
        signed.add(cosignature::sign(&signed, u64::from(*number), &witness(*number)).unwrap());
    }
    signed
}

fn fulfils(policy: &str, witnesses: &[u8]) -> bool {
    Policy::read(file(policy).as_bytes()).unwrap().judge(&cosigned(witnesses)).is_ok()
}

#[test]
fn the_specification_s_example_is_kept() {
    let policy = "group X 2 W1 W2 W3\ngroup Y any W4 W5 W6\ngroup X-and-Y all X Y\nquorum X-and-Y\n";
    for (witnesses, enough) in [
        (&[1, 2, 4][..], true),
        (&[3, 2, 6], true),
        (&[1, 2, 3, 4, 5, 6], true),
        (&[1, 2, 9, 4], true),
        (&[], false),
        (&[1, 2], false),
        (&[1, 4], false),
        (&[4, 5, 6], false),
        (&[1, 4, 5, 6], false),
        (&[7, 8, 9], false),
    ] {
        assert_eq!(fulfils(policy, witnesses), enough, "{witnesses:?}");
    }
    assert!(fulfils("quorum none\n", &[]));
    assert!(fulfils("quorum W2\n", &[1, 2]) && !fulfils("quorum W2\n", &[1]));
}

#[test]
fn who_stands_behind_a_checkpoint_is_told() {
    let policy = Policy::read(file("group G 2 W1 W2 W3\nquorum G\n").as_bytes()).unwrap();
    let signed = cosigned(&[3, 1]);
    let believed = policy.judge(&signed).unwrap();
    let by: Vec<_> = believed.witnesses.iter().map(|verified| (verified.by.name(), verified.time)).collect();
    assert_eq!(by, [("w3.example", Some(3)), ("w1.example", Some(1))]);
    assert_eq!(believed.log, log_key().verifier());
    assert_eq!(policy.judge(&cosigned(&[3])), Err(NotBelieved::NoQuorum(1)));
}

#[test]
fn a_wrong_signature_by_anybody_who_is_known_is_enough_to_disbelieve() {
    let policy = Policy::read(file("quorum W1\n").as_bytes()).unwrap();
    let other = Checkpoint::new("other.example", TreeHead::EMPTY, &[]).unwrap();
    let elsewhere = SignedCheckpoint::new(other, &log_key()).unwrap();
    assert_eq!(policy.judge(&elsewhere), Err(NotBelieved::UnknownLog("other.example".to_owned())));
    let mut signed = cosigned(&[1]);
    signed.add(cosignature::sign(&elsewhere, 2, &witness(2)).unwrap());
    assert!(matches!(policy.judge(&signed), Err(NotBelieved::Witnesses(_))));
    let mut signed = cosigned(&[1]);
    signed.add(note::sign("other\n", &log_key()).unwrap());
    assert!(matches!(policy.judge(&signed), Err(NotBelieved::Log(Unverified::Wrong { .. }))));
    let impostor = SigningKey::new(ORIGIN, KeyKind::Note, &[99; 32]).unwrap();
    let checkpoint = Checkpoint::new(ORIGIN, TreeHead::EMPTY, &[]).unwrap();
    let unsigned = SignedCheckpoint::new(checkpoint, &impostor).unwrap();
    assert_eq!(policy.judge(&unsigned), Err(NotBelieved::Log(Unverified::Unknown)));
}

#[test]
fn spaces_tabs_comments_and_bytes_of_any_encoding_are_read() {
    let text = format!(
        "# a comment\n\n \t \n  # another\n\tlog\t{} \thttps://log.example/\n witness \u{212a} {} https://w1.example/\n\
         witness K {}\ngroup   G  1 \u{212a}\tK\nquorum G\n",
        log_key().verifier(),
        witness(1).verifier(),
        witness(2).verifier()
    );
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"# \xff\xfe\n");
    let policy = Policy::read(&bytes).unwrap();
    assert_eq!(policy.logs()[0].url.as_deref(), Some("https://log.example/"));
    let urls: Vec<_> = policy.witnesses().map(|(_, url)| url).collect();
    assert_eq!(urls, [Some("https://w1.example/"), None]);
    assert_eq!(Policy::read(&policy.write()).as_ref(), Ok(&policy));
    let odd = [b"witness \xff ", witness(1).verifier().to_string().as_bytes(), b"\nquorum \xff\n"].concat();
    assert_eq!(Policy::read(&odd).unwrap().write(), odd);
}

#[test]
fn whatever_else_is_no_policy() {
    let (log, w1) = (log_key().verifier().to_string(), witness(1).verifier().to_string());
    let renamed = SigningKey::new("another", KeyKind::Cosignature, &[1; 32]).unwrap().verifier().to_string();
    for (more, fault) in [
        ("", Fault::NoQuorum),
        ("quorum none", Fault::Cut),
        ("quorum none\nquorum none\n", Fault::QuorumTwice),
        ("quorum W10\n", Fault::UnknownName),
        ("quorum G\ngroup G all W1\n", Fault::UnknownName),
        ("quorum\n", Fault::Form),
        ("quorum W1 W2\n", Fault::Form),
        ("Quorum W1\n", Fault::Form),
        ("quorum W1 # comment\n", Fault::Form),
        ("quorum\u{a0}W1\n", Fault::Form),
        ("quorum W1\r\n", Fault::ControlCharacter),
        ("quorum W1\u{7f}\n", Fault::ControlCharacter),
        ("group G\n", Fault::Form),
        ("group G all\n", Fault::Least),
        ("group G any\n", Fault::Least),
        ("group G 0 W1\n", Fault::Least),
        ("group G 2 W1\n", Fault::Least),
        ("group G 01 W1\n", Fault::Form),
        ("group G most W1\n", Fault::Form),
        ("group G 99999999999999999999 W1\n", Fault::Form),
        ("group G all none\n", Fault::UnknownName),
        ("group G all G\n", Fault::UnknownName),
        ("group G all W1 W1\n", Fault::MemberTwice),
        ("group G all W1\ngroup H all W1\n", Fault::MemberTwice),
        ("group W1 all W2\n", Fault::NameTwice),
        ("group none all W2\n", Fault::NameTwice),
        ("witness A\n", Fault::Form),
        ("witness A key\n", Fault::Key(NoKey::Verifier)),
        (&format!("witness A {log}\n"), Fault::WitnessKind),
        (&format!("witness A {w1}\n"), Fault::KeyTwice),
        (&format!("witness A {renamed}\n"), Fault::KeyTwice),
        (&format!("log {log}\n"), Fault::KeyTwice),
        (&format!("log {w1} url more\n"), Fault::Form),
        ("log\n", Fault::Form),
    ] {
        let read = Policy::read(file(more).as_bytes());
        assert_eq!(read.map_err(|no| no.fault), Err(fault), "{more}");
    }
    assert_eq!(Policy::read(b"#\nwitness a b\n").unwrap_err().line, 2);
    assert_eq!(Policy::read(&vec![b'\n'; LONGEST_FILE + 1]).unwrap_err().fault, Fault::TooLong);
    assert_eq!(Policy::read(b"quorum none\n").map(|policy| policy.logs().len()), Ok(0));
}

proptest! {
    #[test]
    fn so_many_of_so_many_is_what_it_says(least in 1_usize..=9, witnesses in prop::sample::subsequence((1..10).collect::<Vec<u8>>(), 0..=9)) {
        let policy = format!("group G {least} W1 W2 W3 W4 W5 W6 W7 W8 W9\nquorum G\n");
        prop_assert_eq!(fulfils(&policy, &witnesses), witnesses.len() >= least);
    }

    #[test]
    fn what_is_written_is_read(least in 1_usize..=3, inner in 1_usize..=2, quorum in prop::sample::select(vec!["G", "H", "W9", "none"])) {
        let text = file(&format!("group G {inner} W1 W2\ngroup H {least} G W3 W4\nquorum {quorum}\n"));
        let policy = Policy::read(text.as_bytes()).unwrap();
        prop_assert_eq!(policy.write(), text.into_bytes());
    }

    #[test]
    fn nothing_is_more_than_an_error(file in prop::collection::vec(any::<u8>(), 0..200), words in "((log|witness|group|quorum|any|all|[0-9]|a|b)[ \t\n]){0,30}") {
        let _ = Policy::read(&file);
        if let Ok(policy) = Policy::read(words.as_bytes()) {
            prop_assert_eq!(Policy::read(&policy.write()), Ok(policy));
        }
    }
}
