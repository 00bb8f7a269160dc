"""The smallest sizes that the networks can have."""

PATCH_UNET = {
    "block_out_channels": [32, 32],
    "num_attention_heads": [2, 2],
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "cross_attention_dim": 16,
    "addition_time_embed_dim": 32,
    "layers": 3,
}
