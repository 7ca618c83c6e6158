from vaebm_toolkit import frozen, ge, opt


@frozen
class Options:
    size: int = opt(8, "height and width", check=ge(4), unit="pixels")
    train_size: int = opt(2000, "training images", check=ge(1))
    test_size: int = opt(500, "test images", check=ge(1))
    seed: int = opt(0, "seed of the images", check=ge(0))

    @property
    def data_shape(self) -> tuple[int, ...]:
        """For `vaebm run --dry-run`, which makes no data."""
        return (1, self.size, self.size)
