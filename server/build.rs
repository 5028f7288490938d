//! Says when the page must be embedded anew.

fn main() {
    println!("cargo::rerun-if-changed=page");
}
