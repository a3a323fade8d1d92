//! The content-addressed description of a model.

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::blob::BlobAddress;

/// What a model is, down to the hash of every file. Two nodes that serve the same manifest serve the same model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelManifest {
    /// The alias that people send, such as `smollm2-135m-instruct`.
    pub name: String,
    pub files: Vec<ManifestFile>,
    pub quantisation: String,
    /// SPDX identifier.
    pub licence: String,
    pub authors: Vec<String>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestFile {
    pub path: String,
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// BLAKE3, lower-case hexadecimal: nodes with a manifest that has it give each other the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

impl ManifestFile {
    /// What the file is called between nodes.
    pub fn address(&self) -> Option<BlobAddress> {
        let blake3 = blake3::Hash::from_hex(self.blake3.as_ref()?).ok()?;
        Some(BlobAddress { blake3, bytes: self.bytes })
    }
}

impl ModelManifest {
    /// The model id: CIDv1, codec `json`, SHA-256, base32 (multiformats CID specification). The bytes that are hashed
    /// are the manifest's JSON without white space, fields in the order of this struct.
    pub fn id(&self) -> String {
        const VERSION_1: u8 = 0x01;
        const CODEC_JSON: [u8; 2] = [0x80, 0x04]; // 0x0200 as unsigned varint
        const SHA2_256: [u8; 2] = [0x12, 0x20];
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut cid = vec![VERSION_1];
        cid.extend(CODEC_JSON);
        cid.extend(SHA2_256);
        cid.extend(Sha256::digest(&json));
        format!("b{}", BASE32_NOPAD.encode(&cid).to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_a_cid_and_changes_with_every_byte() {
        let mut manifest = ModelManifest {
            name: "m".into(),
            files: vec![ManifestFile { path: "m.gguf".into(), bytes: 3, sha256: "00".repeat(32), blake3: None }],
            quantisation: "Q4_1".into(),
            licence: "Apache-2.0".into(),
            authors: vec!["a".into()],
        };
        let id = manifest.id();
        assert!(id.starts_with("bagaa") && id.len() == 61, "{id}");
        manifest.files[0].bytes = 4;
        assert_ne!(manifest.id(), id);
        manifest.files[0] = ManifestFile { bytes: 3, blake3: Some("11".repeat(32)), ..manifest.files[0].clone() };
        assert_ne!(manifest.id(), id);
    }

    #[test]
    fn a_manifest_without_blake3_keeps_its_id_and_has_no_address() {
        let json = r#"{"name":"m","files":[{"path":"m.gguf","bytes":3,"sha256":"00"}],"quantisation":"Q4_1","licence":"Apache-2.0","authors":["a"]}"#;
        let mut manifest: ModelManifest = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&manifest).unwrap(), json);
        assert_eq!(manifest.files[0].address(), None);
        manifest.files[0].blake3 = Some("11".repeat(32));
        let address = manifest.files[0].address().unwrap();
        assert_eq!(address.to_string(), format!("{}-3", "11".repeat(32)));
    }
}
