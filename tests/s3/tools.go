//go:build tools

// The S3 server that tests run is a program of this module, so that go.mod and go.sum fix it with all that it needs.
package s3

import _ "github.com/versity/versitygw/cmd/versitygw"
