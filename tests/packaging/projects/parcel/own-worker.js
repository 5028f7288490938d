import "duologue/worker";
