use super::{RawLanding, file, open, verify};
use crate::home::Home;
use std::{io::Read as _, sync::Arc};
use tidegate_core::{
    Code,
    pipeline::ByteSize,
    seam::{Landing as _, NoProgress},
};

/// Lands bytes in pieces of `piece`, and says whether the store packs them.
async fn is_packed(bytes: &[u8], piece: usize) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    let mut landing = RawLanding::new(&home, "p", "s", ByteSize(1 << 30), Arc::new(NoProgress));
    landing.begin("x", None).await.unwrap();
    for piece in bytes.chunks(piece) {
        landing.write(piece).await.unwrap();
    }
    let parts = landing.keep().await.unwrap();
    let kept = file(&home, &parts[0]);
    let mut back = Vec::new();
    open(&kept).unwrap().read_to_end(&mut back).unwrap();
    assert!(back == bytes, "{} bytes came back of {}", back.len(), bytes.len());
    assert_eq!(kept.path.metadata().unwrap().len() < bytes.len() as u64, kept.packed);
    kept.packed
}

fn rows(bytes: usize) -> Vec<u8> {
    (0u64..).flat_map(|n| format!("2020-03-{:02},{n}\n", n % 31 + 1).into_bytes()).take(bytes).collect()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(bytes)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gets_smaller_is_packed() {
    for bytes in [65_536, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 9 << 20] {
        assert!(is_packed(&rows(bytes), 1 << 20).await, "{bytes}");
        assert!(is_packed(&rows(bytes), 77_777).await, "{bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_small_or_packed_already_is_kept_as_it_is() {
    assert!(!is_packed(b"", 1).await);
    assert!(!is_packed(&rows(65_535), 1000).await);
    assert!(!is_packed(&noise(3 << 20), 1 << 20).await);
    let footer_at_its_end = [b"PAR1".to_vec(), rows(3 << 20)].concat();
    assert!(!is_packed(&footer_at_its_end, 1 << 20).await);
    // The beginning decides.
    assert!(!is_packed(&[noise(2 << 20), rows(6 << 20)].concat(), 1 << 20).await);
    assert!(is_packed(&[rows(2 << 20), noise(1 << 20)].concat(), 1 << 20).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_file_that_was_cut_is_not_the_one_that_came() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    let mut landing = RawLanding::new(&home, "p", "s", ByteSize(1 << 30), Arc::new(NoProgress));
    landing.begin("x", None).await.unwrap();
    landing.write(&rows(5 << 20)).await.unwrap();
    let part = landing.keep().await.unwrap().remove(0);
    let kept = file(&home, &part);
    let whole = std::fs::read(&kept.path).unwrap();
    let frame = zstd::zstd_safe::find_frame_compressed_size(&whole).unwrap();
    assert!(frame < whole.len());
    for cut in [1, frame, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&kept.path, &whole[..cut]).unwrap();
        assert_eq!(verify(&home, &part).unwrap_err().code, Code::TG407, "{cut}");
    }
    std::fs::write(&kept.path, &whole).unwrap();
    verify(&home, &part).unwrap();
    super::remove(&home, &part.sha256);
    assert!(!kept.path.exists());
}
