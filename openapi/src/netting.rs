//! What two gateways owe each other, offset. Each answers the other's users as it answers any customer; its receipts are what it
//! bills. From time to time both count the receipts that they hold of each other, and one document that both have signed says
//! what was offset and what is left to pay. It is made of receipts alone, so that the books of both can be held against it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::log::ed25519::PublicKey;
use crate::log::hash::Hash;
use crate::log::tree::Frontier;
use crate::receipt::jws::{Jws, NotSigned};
use crate::units::Nanocredits;

/// On the gateway, with an inference key: `GET`, with `?after=` a leaf of its log. A [`ReceiptPage`] of what the key's account has
/// had signed from there on.
pub const RECEIPTS_PATH: &str = "/v1/receipts";
/// On the gateway, with an inference key: `POST` of a [`Proposal`].
pub const NETTINGS_PATH: &str = "/v1/nettings";
/// The header under which a client names its request, as in OpenAI's API; 1 to 512 visible ASCII characters.
pub const CLIENT_REQUEST_HEADER: &str = "x-client-request-id";
/// The version of these documents.
pub const VERSION: u8 = 1;
/// The most receipts that a document leaves out.
pub const MOST_DISPUTED: usize = 100;

/// Receipts, in the order of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceiptPage<File> {
    /// Always `list`.
    pub object: String,
    /// As `GET /v1/receipts/{id}` gives each.
    pub data: Vec<File>,
    /// Where to go on. There is nothing more yet when that is where this began.
    pub next: u64,
}

/// What one of both has answered for the other since they netted last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// What the log of the one that has answered is called.
    pub gateway: String,
    /// Leaves of that log, the end exclusive.
    pub first_index: u64,
    pub end_index: u64,
    /// How many receipts there are among these of answers to the other.
    pub receipts: u64,
    /// Root of the tree (RFC 6962) of their leaves alone, in the order of the log: hexadecimal.
    pub root: String,
    /// Of these, the ones that the other does not own up to, by their leaves. They are in no netting until that is settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disputed: Vec<u64>,
    /// What the others cost together: what the other owes.
    pub nanocredits: Nanocredits,
}

/// What two gateways owe each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Netting {
    /// Always [`VERSION`].
    pub v: u8,
    /// Between these two, from 1.
    pub number: u32,
    /// In the order of their names.
    pub sides: [Side; 2],
}

/// What remains when both have offset what they owe each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rest {
    pub payer: String,
    pub payee: String,
    pub nanocredits: Nanocredits,
}

/// A netting that one has signed, sent to the other.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// A [`Netting`], as compact JWS (EdDSA).
    pub netting: String,
}

/// A netting that both have signed. As compact JWS (EdDSA) of the second it is the document that is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Agreed {
    /// Always [`VERSION`].
    pub v: u8,
    /// The first's compact JWS of the [`Netting`].
    pub netting: String,
}

/// Counts the receipts of one side.
#[derive(Debug)]
pub struct Counting {
    side: Side,
    tree: Frontier,
}

impl Counting {
    /// Of the receipts that this gateway has signed, in these leaves of its log.
    pub fn begin(gateway: &str, (first_index, end_index): (u64, u64)) -> Self {
        let side = Side {
            gateway: gateway.to_owned(),
            first_index,
            end_index,
            receipts: 0,
            root: String::new(),
            disputed: Vec::new(),
            nanocredits: Nanocredits::ZERO,
        };
        Self { side, tree: Frontier::new() }
    }

    /// The next receipt in the order of the log; `None` for what it costs while that is disputed.
    pub fn count(&mut self, index: u64, leaf: Hash, nanocredits: Option<Nanocredits>) {
        self.side.receipts += 1;
        self.tree.push(leaf, |_, _| ());
        match nanocredits {
            Some(nanocredits) => self.side.nanocredits += nanocredits,
            None => self.side.disputed.push(index),
        }
    }

    /// What there was.
    pub fn end(mut self) -> Side {
        self.side.root = self.tree.head().root.to_hex();
        self.side
    }
}

impl Netting {
    /// Of two sides, whichever comes first.
    pub fn new(number: u32, one: Side, other: Side) -> Self {
        let sides = if one.gateway <= other.gateway { [one, other] } else { [other, one] };
        Self { v: VERSION, number, sides }
    }

    /// What this gateway has answered for the other, and the other for it. None when it is neither.
    pub fn seen_by(&self, gateway: &str) -> Option<(&Side, &Side)> {
        match &self.sides {
            [ours, theirs] if ours.gateway == gateway => Some((ours, theirs)),
            [theirs, ours] if ours.gateway == gateway => Some((ours, theirs)),
            _ => None,
        }
    }

    /// What both owe each other, so that nobody pays it.
    pub fn offset(&self) -> Nanocredits {
        let [one, other] = &self.sides;
        one.nanocredits.min(other.nanocredits)
    }

    /// What is left to be paid, if anything is.
    pub fn rest(&self) -> Option<Rest> {
        let [one, other] = &self.sides;
        let (payer, payee) = match one.nanocredits.cmp(&other.nanocredits) {
            Ordering::Less => (one, other),
            Ordering::Greater => (other, one),
            Ordering::Equal => return None,
        };
        let nanocredits = payee.nanocredits - payer.nanocredits;
        Some(Rest { payer: payer.gateway.clone(), payee: payee.gateway.clone(), nanocredits })
    }
}

impl Agreed {
    /// Reads the document, if these two have signed it, the first by any of its keys and the second by any of its own.
    ///
    /// # Errors
    /// When it is no such document, or one of them has not signed it.
    pub fn read(document: &str, first: &[PublicKey], second: &[PublicKey]) -> Result<Netting, NotSigned> {
        let agreed: Self = signed(document, second)?;
        signed(&agreed.netting, first)
    }
}

/// What a token claims that one of these keys has signed.
///
/// # Errors
/// When none of them has.
pub fn signed<Claims: serde::de::DeserializeOwned>(token: &str, keys: &[PublicKey]) -> Result<Claims, NotSigned> {
    let jws = Jws::read(token)?;
    let mut tried = keys.iter().map(|key| jws.verify(key));
    tried.find(|read| !matches!(read, Err(NotSigned::Signature))).unwrap_or(Err(NotSigned::Signature))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::receipt::jws::Signer;

    fn side(gateway: &str, nanocredits: u64) -> Side {
        let mut counting = Counting::begin(gateway, (0, 9));
        counting.count(3, Hash::leaf(b"a receipt"), Some(Nanocredits::new(nanocredits)));
        counting.count(7, Hash::leaf(b"another"), None);
        counting.end()
    }

    #[test]
    fn a_side_has_the_root_of_its_receipts_and_leaves_out_what_is_disputed() {
        let side = side("a.example/log", 5);
        let mut both = Frontier::new();
        [b"a receipt".as_slice(), b"another"].iter().for_each(|leaf| both.push(Hash::leaf(leaf), |_, _| ()));
        assert_eq!((side.receipts, &side.root, side.nanocredits.get()), (2, &both.head().root.to_hex(), 5));
        assert_eq!(side.disputed, [7]);
        assert_eq!(Counting::begin("a", (4, 4)).end().root, Frontier::new().head().root.to_hex());
    }

    #[test]
    fn both_gateways_must_have_signed_it() {
        let [one, other, stranger] = [1, 2, 3].map(|seed| Signer::from_seed(&[seed; 32]).unwrap());
        let netting = Netting::new(1, side("b", 5), side("a", 7));
        assert_eq!(
            netting.seen_by("b").map(|(ours, theirs)| (ours.nanocredits.get(), theirs.nanocredits.get())),
            Some((5, 7))
        );
        assert_eq!(netting.seen_by("c"), None);
        let document = other.sign(&Agreed { v: VERSION, netting: one.sign(&netting).unwrap() }).unwrap();
        let read = |first: &Signer, second: &Signer| {
            Agreed::read(&document, &[stranger.public(), first.public()], &[second.public()])
        };
        assert_eq!(read(&one, &other), Ok(netting));
        assert_eq!(read(&stranger, &other), Err(NotSigned::Signature));
        assert_eq!(read(&one, &stranger), Err(NotSigned::Signature));
        assert_eq!(read(&other, &one), Err(NotSigned::Signature));
        assert_eq!(Agreed::read(&document, &[], &[]), Err(NotSigned::Signature));
    }

    proptest! {
        #[test]
        fn what_is_offset_and_what_is_left_are_what_both_owe(one in 0_u64..1 << 50, other in 0_u64..1 << 50) {
            let netting = Netting::new(1, side("a", one), side("b", other));
            let rest = netting.rest();
            let left = rest.as_ref().map_or(0, |rest| rest.nanocredits.get());
            prop_assert_eq!(2 * netting.offset().get() + left, one + other);
            if let Some(rest) = rest {
                // Who has answered more is paid.
                prop_assert_eq!((rest.payee == "a", rest.payer == "a"), (one > other, one < other));
            }
        }
    }
}
