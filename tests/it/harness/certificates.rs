//! Certificates for servers that speak TLS, made by `openssl` on the spot.

use std::path::Path;
use std::process::{Command, Stdio};

const SCRIPT: &str = "set -e
    key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'
    openssl req -x509 $key -keyout ca.key -out ca.pem -subj /CN=test-authority
    for who in server client; do
        openssl req $key -keyout $who.key -out $who.csr -subj /CN=$who
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n' >$who.ext
        openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $who.ext -out $who.pem
    done";

/// Makes `ca.pem` and, signed by it, `server.pem` for 127.0.0.1 and `client.pem`, each with its `.key`.
pub fn make(folder: &Path) {
    let output = Command::new("sh")
        .args(["-c", SCRIPT])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("sh starts");
    assert!(
        output.status.success(),
        "openssl makes certificates: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
