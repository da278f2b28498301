// NBDServerTests
