"""How the agent ends."""

SUCCESS, ERROR, PANIC, TERMINAL = 0, 1, 2, 5


class Stop(Exception):
    """Ends the agent with a code. What led to it is in the log."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Panic(Exception):
    """A fault of a Go program: the trace is on stderr, the code is 2, and the log has nothing."""

    def trace(self):
        return (f"{self}\n\ngoroutine 1 [running]:\n"
                "go.etcd.io/bbolt.(*Bucket).pageNode(0xc0004a8000, 0x4)\n\t/go/src/go.etcd.io/bbolt/bucket.go:698 +0x14e\n"
                "go.etcd.io/bbolt.(*Cursor).seek(0xc00057f208, {0xc00021ddc8, 0x6, 0x6})\n"
                "\t/go/src/go.etcd.io/bbolt/cursor.go:164 +0x65\n"
                "github.com/aws/amazon-ecs-agent/agent/data.setup({0xc00013a0d7, 0x5})\n"
                "\t/go/src/github.com/aws/amazon-ecs-agent/agent/data/client.go:137 +0xb6\n"
                "github.com/aws/amazon-ecs-agent/agent/app.newAgent(0x0, 0xc00019f0f0)\n"
                "\t/go/src/github.com/aws/amazon-ecs-agent/agent/app/agent.go:229 +0x74b\n"
                "main.main()\n\t/go/src/github.com/aws/amazon-ecs-agent/agent/agent.go:39 +0x1d\n")
