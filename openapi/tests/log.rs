//! Other people's transparency logs and ours understand each other: `signed_note` and `tlog_tiles`, as Cloudflare runs
//! them, and what real logs and a real witness have signed.

use std::cell::RefCell;
use std::collections::HashMap;

use openapi::log::checkpoint::{Checkpoint, SignedCheckpoint};
use openapi::log::hash::Hash;
use openapi::log::key::{KeyKind, SigningKey, VerifierKey};
use openapi::log::note::{self, Note};
use openapi::log::policy::Policy;
use openapi::log::tile::{self, Row, Tile};
use openapi::log::tree::{Frontier, MAX_SIZE, Node, TreeHead};
use openapi::log::{consistency, cosignature, inclusion};
use proptest::prelude::*;
use signed_note::{Signer, StandardSigner, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::{HashReader, TileHashReader, TileReader};

/// Leaves of the tree that both build.
const LEAVES: u64 = 100_000;

/// What a log serves, as files of hashes, with the head that its tree had at some sizes.
struct Served {
    files: HashMap<String, Vec<u8>>,
    heads: HashMap<u64, TreeHead>,
    leaves: Vec<Hash>,
}

impl Served {
    /// Grows to each of these sizes, and writes the tiles that are new then.
    fn at(sizes: &[u64]) -> Self {
        let mut served = Self { files: HashMap::new(), heads: HashMap::new(), leaves: Vec::new() };
        let mut rows: HashMap<u8, Vec<u8>> = HashMap::new();
        let (mut frontier, mut random) = (Frontier::new(), 0_u64);
        for size in sizes {
            let from = frontier.size();
            while frontier.size() < *size {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let leaf = Hash::leaf(&random.to_be_bytes()[..(random >> 61) as usize]);
                served.leaves.push(leaf);
                frontier.push(leaf, |node, hash| rows.entry(node.level).or_default().extend(hash.0));
            }
            served.heads.insert(*size, frontier.head());
            for tile in tile::new_hashes(from, *size) {
                let Row::Hashes { level } = tile.row() else { unreachable!() };
                let start = tile.start() as usize * Hash::BYTES;
                let bytes = rows[&(level * 8)][start..start + usize::from(tile.width()) * Hash::BYTES].to_vec();
                assert_eq!(served.files.insert(tile.to_string(), bytes), None, "{tile} is written once");
            }
        }
        served
    }

    fn nodes(&self, size: u64) -> impl Fn(Node) -> Option<Hash> {
        tile::nodes(size, |tile| self.files.get(&tile.to_string()).cloned())
    }
}

impl TileReader for Served {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        Ok(tiles.iter().map(|tile| self.files[&path(tile)].clone()).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

/// Their store of hashes, which they number in the order in which they come to be.
#[derive(Default)]
struct Stored(RefCell<Vec<tlog_tiles::Hash>>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0.borrow()[*index as usize]).collect())
    }
}

/// The path of a tile of theirs, which they write as Go's checksum database does: with its height, and `data` for entries.
fn path(tile: &tlog_tiles::Tile) -> String {
    let path = tile.path();
    let rest = path.strip_prefix("tile/8/").unwrap_or(&path);
    format!("/tile/{}", rest.replace("data/", "entries/"))
}

fn theirs(hash: &Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash.0)
}

fn all_theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(theirs).collect()
}

fn all_ours(hashes: &[tlog_tiles::Hash]) -> Vec<Hash> {
    hashes.iter().map(|hash| Hash(hash.0)).collect()
}

#[test]
fn tiles_and_proofs_of_a_hundred_thousand_leaves_are_the_same_on_both_sides() {
    let sizes = [1, 255, 256, 257, 65_535, 65_536, 70_000, 99_999, LEAVES];
    let served = Served::at(&sizes);
    for size in sizes {
        let head = served.heads[&size];
        let reader = TileHashReader::new(size, theirs(&head.root), &served);
        let nodes = served.nodes(size);
        // They verify our tiles against the root before they prove anything with them.
        for index in [0, 1, size / 3, size / 2, size - 1].into_iter().filter(|index| *index < size) {
            let leaf = served.leaves[index as usize];
            let ours = inclusion::prove(index, size, &nodes).unwrap();
            assert_eq!(all_theirs(&ours), tlog_tiles::prove_record(size, index, &reader).unwrap(), "{index} of {size}");
            tlog_tiles::check_record(&all_theirs(&ours), size, theirs(&head.root), index, theirs(&leaf)).unwrap();
            assert!(inclusion::verify(leaf, index, &ours, head).is_ok());
        }
        for old in sizes.into_iter().filter(|old| *old <= size) {
            let ours = consistency::prove(old, size, &nodes).unwrap();
            let before = served.heads[&old];
            assert_eq!(all_theirs(&ours), tlog_tiles::prove_tree(size, old, &reader).unwrap(), "{old} to {size}");
            tlog_tiles::check_tree(&all_theirs(&ours), size, theirs(&head.root), old, theirs(&before.root)).unwrap();
            assert_eq!(consistency::verify(before, head, &ours), Ok(()));
        }
    }
}

#[test]
fn their_trees_have_our_roots_and_their_proofs_convince_us() {
    let (stored, mut frontier) = (Stored::default(), Frontier::new());
    let mut heads = vec![frontier.head()];
    for index in 0..400_u64 {
        let entry = index.to_string();
        let new = tlog_tiles::stored_hashes(index, entry.as_bytes(), &stored).unwrap();
        stored.0.borrow_mut().extend(new);
        frontier.push(Hash::leaf(entry.as_bytes()), |_, _| ());
        heads.push(frontier.head());
        let (size, head) = (index + 1, frontier.head());
        assert_eq!(tlog_tiles::tree_hash(size, &stored).unwrap(), theirs(&head.root), "of {size}");
        for leaf in (0..size).step_by(7) {
            let proof = all_ours(&tlog_tiles::prove_record(size, leaf, &stored).unwrap());
            let entry = Hash::leaf(leaf.to_string().as_bytes());
            assert_eq!(inclusion::verify(entry, leaf, &proof, head), Ok(()));
        }
        for old in (1..=size).step_by(7) {
            let proof = all_ours(&tlog_tiles::prove_tree(size, old, &stored).unwrap());
            assert_eq!(consistency::verify(heads[old as usize], head, &proof), Ok(()));
        }
    }
}

#[test]
fn the_proofs_of_a_real_log_of_certificates_hold() {
    let known: serde_json::Value = serde_json::from_str(include_str!("argon2020.json")).unwrap();
    let hash = |name: &str| known[name].as_str().unwrap().parse::<Hash>().unwrap();
    let hashes = |name: &str| -> Vec<Hash> {
        known[name].as_array().unwrap().iter().map(|hash| hash.as_str().unwrap().parse().unwrap()).collect()
    };
    let new = TreeHead { size: known["size"].as_u64().unwrap(), root: hash("root") };
    let old = TreeHead { size: known["old_size"].as_u64().unwrap(), root: hash("old_root") };
    let index = known["index"].as_u64().unwrap();
    assert_eq!(inclusion::verify(hash("leaf"), index, &hashes("inclusion"), new), Ok(()));
    assert_eq!(consistency::verify(old, new, &hashes("consistency")), Ok(()));
    assert!(inclusion::verify(hash("leaf"), index + 1, &hashes("inclusion"), new).is_err());
    assert!(consistency::verify(TreeHead { size: old.size + 1, ..old }, new, &hashes("consistency")).is_err());
}

/// As a log and witnesses in operation have signed it. One signature is of a kind that isn't read.
const COSIGNED: &str = "\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
";
const COSIGNED_POLICY: &str = "\
log arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f
witness remora remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2
quorum remora
";

#[test]
fn the_checkpoint_of_a_real_log_and_the_cosignature_of_a_real_witness_hold() {
    let policy = Policy::read(COSIGNED_POLICY.as_bytes()).unwrap();
    let signed: SignedCheckpoint = COSIGNED.parse().unwrap();
    let believed = policy.judge(&signed).unwrap();
    assert_eq!(believed.log.name(), signed.checkpoint().origin());
    assert_eq!(believed.witnesses.iter().map(|witness| witness.time).collect::<Vec<_>>(), [Some(1_779_573_024)]);
    assert_eq!(signed.to_string(), COSIGNED);
    let other: SignedCheckpoint = COSIGNED.replace("1432088532", "1432088533").parse().unwrap();
    assert!(policy.judge(&other).is_err());
}

/// One key on both sides. None when either refuses it.
fn signing_keys(name: &str, seed: &[u8; 32]) -> Option<(SigningKey, StandardSigner)> {
    let text = SigningKey::write(name, KeyKind::Note, seed).ok()?;
    Some((text.parse().ok()?, StandardSigner::new(&text).ok()?))
}

/// Their verdict on one of our keys' signatures.
fn they_verify(note: &[u8], key: &VerifierKey) -> bool {
    let Ok(key) = StandardVerifier::new(&key.to_string()) else { return false };
    let known = VerifierList::new(vec![Box::new(key)]);
    signed_note::Note::from_bytes(note).is_ok_and(|note| note.verify(&known).is_ok())
}

/// Our verdict on the same.
fn we_verify(note: &[u8], key: &VerifierKey) -> bool {
    let note = std::str::from_utf8(note).ok().and_then(|note| note.parse::<Note>().ok());
    note.is_some_and(|note| note.verify([key]).is_ok())
}

proptest! {
    #[test]
    fn notes_are_signed_and_read_by_both(text in "([^\\p{Cc}]{0,20}\n){1,5}", name in "[^+\\s\\p{Cc}]{1,20}", seed: [u8; 32]) {
        let (our_key, their_key) = signing_keys(&name, &seed).unwrap();
        prop_assert_eq!((our_key.verifier().name(), our_key.verifier().id()), (their_key.name(), their_key.key_id()));
        let mut ours = Note::new(text.clone()).unwrap();
        ours.add(note::sign(&text, &our_key).unwrap());
        let mut theirs = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
        theirs.add_sigs(&[&their_key]).unwrap();
        prop_assert_eq!(ours.to_string().into_bytes(), theirs.to_bytes());
        prop_assert!(they_verify(ours.to_string().as_bytes(), our_key.verifier()));
        prop_assert!(we_verify(&theirs.to_bytes(), our_key.verifier()));
    }

    #[test]
    fn a_damaged_note_convinces_neither(text in "([^\\p{Cc}]{0,20}\n){1,5}", seed: [u8; 32], at: prop::sample::Index, byte: u8) {
        let (key, _) = signing_keys("log.example", &seed).unwrap();
        let mut signed = Note::new(text.clone()).unwrap();
        signed.add(note::sign(&text, &key).unwrap());
        let good = signed.to_string().into_bytes();
        let mut bad = good.clone();
        bad[at.index(good.len())] = byte;
        prop_assert_eq!(we_verify(&bad, key.verifier()), bad == good);
        prop_assert_eq!(they_verify(&bad, key.verifier()), bad == good);
    }

    #[test]
    fn checkpoints_are_read_and_written_by_both(origin in "[^\\p{Cc}]{1,30}", size in 0..=MAX_SIZE, root: [u8; 32], more in "([^\\p{Cc}]{1,9}\n){0,3}") {
        let extensions: Vec<&str> = more.split_terminator('\n').collect();
        let ours = Checkpoint::new(&origin, TreeHead { size, root: Hash(root) }, &extensions).unwrap();
        let theirs = tlog_tiles::Checkpoint::new(&origin, size, tlog_tiles::Hash(root), &more).unwrap();
        prop_assert_eq!(ours.to_string().into_bytes(), theirs.to_bytes());
        prop_assert_eq!(&tlog_tiles::Checkpoint::from_bytes(ours.to_string().as_bytes()).unwrap(), &theirs);
        prop_assert_eq!(String::from_utf8(theirs.to_bytes()).unwrap().parse(), Ok(ours));
    }

    /// Whatever they take for a checkpoint we do too, if its size isn't beyond what a tree can have, and the reverse.
    #[test]
    fn both_refuse_the_same_checkpoints(text in "[a-z]{0,3}\n{1,2}[+0]?[0-9]{0,19}\n[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048bB]=\n(\n|[a-z]{0,2}\n)?") {
        let [ours, theirs] = [text.parse::<Checkpoint>().is_ok(), tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).is_ok()];
        prop_assert_eq!(ours, theirs && !text.split('\n').nth(1).unwrap().parse::<u64>().is_ok_and(|size| size > MAX_SIZE));
    }

    #[test]
    fn the_same_tiles_are_new_after_the_same_growth(from in 0_u64..200_000, more in 0_u64..70_000) {
        let ours: Vec<String> = tile::new_hashes(from, from + more).map(|tile| tile.to_string()).collect();
        let theirs = tlog_tiles::Tile::new_tiles(8, from, from + more);
        prop_assert_eq!(ours, theirs.iter().map(path).collect::<Vec<_>>());
    }

    #[test]
    fn the_same_paths_are_tiles(level in 0_u8..7, index in 0_u64..1 << 40, shift in 0_u32..40, width in 1_u16..=256, entries: bool) {
        let row = if entries { Row::Entries } else { Row::Hashes { level } };
        if let Some(ours) = Tile::new(row, index >> shift, width) {
            let level = if entries { 0 } else { level };
            let theirs = tlog_tiles::Tile::new(8, level, index >> shift, u32::from(width), entries);
            prop_assert_eq!(ours.to_string(), path(&theirs));
        }
    }

    /// They know no cosignatures, but they know the signature inside.
    #[test]
    fn a_cosignature_is_a_signature_of_what_is_specified(origin in "[a-z./]{1,20}", size in 0..=MAX_SIZE, root: [u8; 32], time in 1..1_u64 << 63, seed: [u8; 32]) {
        let (log, _) = signing_keys(&origin, &[1; 32]).unwrap();
        let witness = SigningKey::new("witness.example", KeyKind::Cosignature, &seed).unwrap();
        let checkpoint = Checkpoint::new(&origin, TreeHead { size, root: Hash(root) }, &[]).unwrap();
        let signed = SignedCheckpoint::new(checkpoint, &log).unwrap();
        let signature = cosignature::sign(&signed, time, &witness).unwrap();
        let message = format!("cosignature/v1\ntime {time}\n{origin}\n{size}\n{}\n", tlog_tiles::Hash(root));
        let plain = VerifierKey::new("witness.example", KeyKind::Note, witness.verifier().public()).unwrap();
        let verifier = StandardVerifier::new(&plain.to_string()).unwrap();
        prop_assert_eq!(&signature.bytes()[..8], time.to_be_bytes());
        prop_assert!(verifier.verify(message.as_bytes(), &signature.bytes()[8..]));
        let id = signed_note::key_id("witness.example", &[&[4], witness.verifier().public().0.as_slice()].concat());
        prop_assert_eq!(signature.id(), id);
    }
}
