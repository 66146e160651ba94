"""What is measured: shapes, workloads, contenders and peers."""
