module bellwether.dev/e2e/app

go 1.26
