//! Keys of this process: those that follow from others, and randomness.

pub(crate) use tunmesh_core::derive;

/// 32 random bytes.
pub(crate) fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no randomness from the kernel"))?;
    Ok(bytes)
}
