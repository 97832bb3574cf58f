"""The BitTorrent DHT, "mainline": `protocol` is the plugin, `api` what applications import."""
