//! Vectors: of length one, the same for the same text.

use crate::ids;

/// Numbers in a vector whose call doesn't say how many.
pub(crate) const DIMENSIONS: u16 = 64;
/// Most numbers in a vector.
pub(crate) const DIMENSIONS_MAX: u16 = 4_096;

/// The vector of a text. Each number is plus or minus the same size, by a hash of the text.
pub(crate) fn vector(text: &[u8], dimensions: u16) -> Vec<f32> {
    let size = f32::from(dimensions).sqrt().recip();
    let minus = size.copysign(-1.0);
    let mut state = ids::hash(text);
    let signs = (0..dimensions).map(|_| ids::scramble(&mut state) & 1 == 0);
    signs.map(|plus| if plus { size } else { minus }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_has_length_one_and_depends_on_the_text_alone() {
        let length = |v: &[f32]| v.iter().fold(0.0, |sum: f32, x| x.mul_add(*x, sum));
        for dimensions in [1, 3, 64, DIMENSIONS_MAX] {
            let vector = vector(b"text", dimensions);
            assert_eq!(vector.len(), usize::from(dimensions));
            assert!((0.999..1.001).contains(&length(&vector)), "{dimensions}");
        }
        assert_eq!(vector(b"a", 64), vector(b"a", 64));
        assert_ne!(vector(b"a", 64), vector(b"b", 64));
    }
}
