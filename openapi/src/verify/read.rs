//! What is given, read strictly: whatever could be understood in two ways is refused with a sentence.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Input, Unreadable};
use crate::error::echo;
use crate::log::ed25519::PublicKey;
use crate::log::policy::Policy;
use crate::log::proof::{self, LogProof};
use crate::receipt::commitment::Salt;
use crate::receipt::jws::{self, Jws, NotSigned};
use crate::receipt::{Receipt, ReceiptId};

/// A receipt's file is at most as long as its parts.
const LONGEST_RECEIPT: usize = 2 * (jws::LONGEST + proof::LONGEST_FILE);
const LONGEST_KEYS: usize = 256 << 10;
/// As much as a gateway takes and gives.
const LONGEST_CONTENT: usize = 64 << 20;
const OBJECT: &str = "receipt";

/// What `GET /v1/receipts/{id}` says; of a JWS that stands alone only that.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    object: String,
    #[serde(default)]
    pub(super) id: Option<ReceiptId>,
    pub(super) receipt: String,
    #[serde(default)]
    pub(super) kid: Option<String>,
    #[serde(default)]
    pub(super) salt: Option<Salt>,
    #[serde(default)]
    pub(super) proof: Option<String>,
    /// The proof says it too.
    #[serde(default, rename = "index")]
    _index: Option<u64>,
    #[serde(default, rename = "client_request_id")]
    _client_request_id: Option<String>,
    /// The request's other attempts, for whoever wants to fetch them.
    #[serde(default, rename = "others")]
    _others: Vec<ReceiptId>,
}

/// A receipt as it was signed, by whomever.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    pub(super) jws: Jws<'a>,
    pub(super) claims: Receipt,
}

/// A key that signs receipts.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) public: PublicKey,
}

pub(super) fn receipt(bytes: &[u8]) -> Result<File, Unreadable> {
    let text = text(Input::Receipt, bytes, LONGEST_RECEIPT)?.trim();
    if !text.starts_with('{') {
        let (object, receipt) = (OBJECT.to_owned(), text.to_owned());
        return Ok(File { object, receipt, ..File::default() });
    }
    let file: File = serde_json::from_str(text).map_err(|error| Input::Receipt.is_not(&error))?;
    if file.object == OBJECT { Ok(file) } else { Err(Input::Receipt.is_not(&"its object is not 'receipt'")) }
}

impl<'a> Signed<'a> {
    pub(super) fn of(file: &'a File) -> Result<Self, Unreadable> {
        let jws = Jws::read(&file.receipt).map_err(|error| Input::Receipt.is_not(&error))?;
        let claims = claims(&jws).map_err(|error| Input::Receipt.is_not(&error))?;
        Ok(Self { jws, claims })
    }
}

/// What is claimed, if that is all that is signed: parts that other messages have too would pass over what they don't know.
pub(super) fn claims<Claims: DeserializeOwned + Serialize>(jws: &Jws<'_>) -> Result<Claims, NotSigned> {
    let claims: Claims = jws.claimed()?;
    let all: Value = jws.claimed()?;
    let read = serde_json::to_value(&claims).map_err(|error| NotSigned::Payload(echo(&error.to_string())))?;
    if read == all { Ok(claims) } else { Err(NotSigned::Payload("it has members that no receipt has".to_owned())) }
}

/// The Ed25519 keys of a JSON Web Key Set (RFC 7517). As it says, keys of other kinds are passed over.
pub(super) fn keys(bytes: &[u8]) -> Result<Vec<Key>, Unreadable> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Member>,
    }
    #[derive(Deserialize)]
    struct Member {
        kty: String,
        crv: Option<String>,
        x: Option<String>,
        kid: Option<String>,
        #[serde(rename = "use")]
        purpose: Option<String>,
    }
    let text = text(Input::Keys, bytes, LONGEST_KEYS)?;
    let set: Set = serde_json::from_str(text).map_err(|error| Input::Keys.is_not(&error))?;
    let signs = |member: &Member| member.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
    let ours = |member: &Member| member.kty == "OKP" && member.crv.as_deref() == Some("Ed25519") && signs(member);
    let keys = set.keys.into_iter().filter(ours).map(|member| {
        let public = member.x.as_deref().and_then(jws::public_key);
        let public = public.ok_or_else(|| Input::Keys.is_not(&"an Ed25519 key has 32 bytes in base64url"))?;
        Ok(Key { id: member.kid.unwrap_or_else(|| jws::key_id(&public)), public })
    });
    let keys: Vec<Key> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(Input::Keys.is_not(&"it has no Ed25519 key that signs")) } else { Ok(keys) }
}

pub(super) fn policy(bytes: &[u8]) -> Result<Policy, Unreadable> {
    Policy::read(bytes).map_err(|error| Input::Policy.is_not(&error))
}

pub(super) fn proof(bytes: &[u8]) -> Result<LogProof, Unreadable> {
    LogProof::read(bytes).map_err(|error| Input::Proof.is_not(&error))
}

/// A document of the log: JSON, and written as it is logged, in one way.
pub(super) fn logged<Document: DeserializeOwned>(
    input: Input,
    text: &str,
    write: impl Fn(&Document) -> String,
) -> Result<Document, Unreadable> {
    let document: Document = serde_json::from_str(text).map_err(|error| input.is_not(&error))?;
    if write(&document) == text {
        return Ok(document);
    }
    Err(input
        .is_not(&"it says what one says, and is written in another way than the log has it: take it as it was served"))
}

pub(super) fn content(input: Input, bytes: Option<&[u8]>) -> Result<Option<&[u8]>, Unreadable> {
    match bytes {
        Some(bytes) if bytes.len() > LONGEST_CONTENT => Err(input.is_too_long(LONGEST_CONTENT)),
        bytes => Ok(bytes),
    }
}

pub(super) fn text(input: Input, bytes: &[u8], longest: usize) -> Result<&str, Unreadable> {
    if bytes.len() > longest {
        return Err(input.is_too_long(longest));
    }
    std::str::from_utf8(bytes).map_err(|_| input.is_not(&"it is no UTF-8 text"))
}

impl Input {
    /// What may be in a file is repeated in part, and never with control characters.
    pub(super) fn is_not(self, why: &impl ToString) -> Unreadable {
        let why = why.to_string().chars().filter(|character| !character.is_control()).take(300).collect();
        Unreadable { input: self, why }
    }

    fn is_too_long(self, longest: usize) -> Unreadable {
        self.is_not(&format!("it has more than {longest} bytes"))
    }
}
