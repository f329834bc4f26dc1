//! Looking whether a name is the client's, as the authority does it: by a connection of its own.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
/// `id-pe-acmeIdentifier`, critical, with a digest behind it (RFC 8737, section 3).
const IDENTIFIER: [u8; 17] = [
    0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x1f, 0x01, 0x01, 0xff, 0x04, 0x22, 0x04,
    0x20,
];

fn connect(port: u16) -> Result<TcpStream, String> {
    let stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    Ok(stream)
}

/// tls-alpn-01.
pub(super) fn by_tls(port: u16, domain: &str, expected: &str) -> Result<(), String> {
    let stream = connect(port)?;
    let verifier = Arc::new(Any);
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let name = ServerName::try_from(domain.to_owned()).map_err(|error| error.to_string())?;
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut stream = StreamOwned::new(session, stream);
    while stream.conn.is_handshaking() {
        let shaken = stream.conn.complete_io(&mut stream.sock);
        shaken.map_err(|error| format!("handshake: {error}"))?;
    }
    if stream.conn.alpn_protocol() != Some(b"acme-tls/1") {
        return Err("another protocol".to_owned());
    }
    let shown = stream.conn.peer_certificates().and_then(<[_]>::first);
    let shown = shown.ok_or("no certificate")?.to_vec();
    let has = |wanted: &[u8]| shown.windows(wanted.len()).any(|part| part == wanted);
    let identifier = [&IDENTIFIER, digest(&SHA256, expected.as_bytes()).as_ref()].concat();
    if !has(&identifier) {
        return Err("another answer".to_owned());
    }
    let length = u8::try_from(domain.len()).map_err(|_| "a long name")?;
    let name = [&[0x30, length + 2, 0x82, length], domain.as_bytes()].concat();
    if !has(&name) {
        return Err("another name, or more than one".to_owned());
    }
    // Nothing is served over it.
    let request = format!("GET / HTTP/1.1\r\nhost: {domain}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok();
    let mut served = [0; 64];
    match stream.read(&mut served) {
        Ok(read) if read > 0 => Err("it serves something".to_owned()),
        _ => Ok(()),
    }
}

/// http-01.
pub(super) fn by_http(port: u16, domain: &str, token: &str, expected: &str) -> Result<(), String> {
    let mut stream = connect(port)?;
    let path = format!("/.well-known/acme-challenge/{token}");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {domain}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.read_to_string(&mut answer))
        .map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.starts_with("HTTP/1.1 200 ") || body != expected {
        return Err(format!(
            "answered {}",
            head.lines().next().unwrap_or_default()
        ));
    }
    Ok(())
}

/// Takes every certificate: it is looked at afterwards.
#[derive(Debug)]
struct Any;

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Whether the key of the certificate signed. A verifier of the library's would refuse the
/// certificate, for its critical extension.
fn verify(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    // A bit string that holds an uncompressed point.
    let key = certificate
        .windows(4)
        .position(|part| part == [0x03, 0x42, 0x00, 0x04]);
    let point = key.and_then(|at| certificate.get(at + 3..at + 3 + 65));
    let wrong = || rustls::Error::General("the signature of the handshake".to_owned());
    let point = point.ok_or_else(wrong)?;
    let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
    let verified = verifier.verify(message, signed.signature());
    verified.map_err(|_| wrong())?;
    Ok(HandshakeSignatureValid::assertion())
}
