//! Signature Version 4 of AWS, for requests whose body is in memory.

use crate::digest::{hmac_sha256, sha256};
use tollkeep_types::{Secret, WallMillis};

/// A request to be signed. What is signed is sent as it stands here.
#[derive(Clone, Copy, Debug)]
pub struct AwsRequest<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, encoded.
    pub path: &'a str,
    /// Its query, encoded and in the order of names.
    pub query: &'a str,
    /// Fields that are signed, by names in lower case and in their order; `host` and `x-amz-date`
    /// are among them.
    pub fields: &'a [(&'a str, &'a str)],
    /// Its body.
    pub body: &'a [u8],
}

/// Who signs, and for what.
#[derive(Clone, Copy, Debug)]
pub struct AwsSigner<'a> {
    /// The id of the access key.
    pub access_key_id: &'a str,
    /// Its secret.
    pub secret_access_key: &'a Secret,
    /// The region of the service.
    pub region: &'a str,
    /// The service.
    pub service: &'a str,
}

impl AwsSigner<'_> {
    /// The value of `Authorization`, at a time as [`amz_date`] writes it.
    pub fn authorization(&self, request: &AwsRequest<'_>, date: &str) -> Secret {
        let day = date.get(..8).unwrap_or(date);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let names: Vec<_> = request.fields.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut canonical = [request.method, request.path, request.query, ""].join("\n");
        for (name, value) in request.fields {
            canonical += &format!("{name}:{}\n", value.trim());
        }
        let body = hex(&sha256(&[request.body]));
        canonical += &format!("\n{names}\n{body}");
        let hashed = hex(&sha256(&[canonical.as_bytes()]));
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
        let key = Secret::new(format!("AWS4{}", self.secret_access_key.expose()));
        let parts = [day, self.region, self.service, "aws4_request", &to_sign];
        let signature = parts
            .iter()
            .fold(key.expose().as_bytes().to_vec(), |key, part| {
                hmac_sha256(&key, part.as_bytes()).to_vec()
            });
        let (id, signature) = (self.access_key_id, hex(&signature));
        Secret::new(format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        ))
    }
}

/// A time as signatures name it: `20261122T101530Z`.
pub fn amz_date(at: WallMillis) -> String {
    let text = at.to_string();
    let digits: String = text
        .chars()
        .filter(|letter| !matches!(letter, '-' | ':'))
        .collect();
    format!("{}Z", digits.get(..15).unwrap_or(&digits))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-65
    #[test]
    fn a_request_of_the_manual_has_the_signature_of_the_manual() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned());
        let signer = AwsSigner {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: &secret,
            region: "us-east-1",
            service: "iam",
        };
        let request = AwsRequest {
            method: "GET",
            path: "/",
            query: "Action=ListUsers&Version=2010-05-08",
            fields: &[
                (
                    "content-type",
                    "application/x-www-form-urlencoded; charset=utf-8",
                ),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ],
            body: b"",
        };
        let signed = signer.authorization(&request, "20150830T123600Z");
        assert_eq!(
            signed.expose(),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    // ID-65
    #[test]
    fn a_time_is_written_without_signs() {
        let at = "2026-11-22T10:15:30.250Z".parse().unwrap();
        assert_eq!(amz_date(at), "20261122T101530Z");
    }
}
