"""The audit: does a proxy order pruned networks as retraining does?"""
